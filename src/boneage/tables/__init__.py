"""Tables: CSV read strictly, tables that grow row by row, lists of radiographs, and files for spreadsheets."""
