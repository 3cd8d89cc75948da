"""Results as messages of hospital systems: FHIR resources and HL7 version 2."""
