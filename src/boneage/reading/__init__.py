"""Reading: from a file to grey levels and to the facts that its header states.

`radiograph` is the entrance, and `limit` the same in a process of its own. `headers` reads sizes before anything is
decoded, `images` decodes PNG, JPEG, TIFF and the like, `huffman_jpeg` the kinds of JPEG that OpenCV lacks, and `dicom`
DICOM objects.
"""
