"""Decoder for the kinds of JPEG that OpenCV lacks: lossless (process 14) and grey 12-bit sequential.

Lossless JPEG is the common archive syntax of DICOM. The decoder is our own because the free ones are large, under the
GPL, or native code that a damaged radiograph could crash.

Only one step of Huffman decoding is serial: finding where the next code begins. The length of the symbol that would
begin at *every* bit is therefore looked up at once. Python follows the chain of beginnings, and all values are then
extracted at once.

Source: ITU-T T.81, annexes C, F and H; DICOM PS3.5, 8.2.1.
"""
