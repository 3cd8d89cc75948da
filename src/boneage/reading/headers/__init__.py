"""Headers of PNG, JPEG, TIFF, WebP, BMP, JPEG 2000 and JPEG-LS images, read before anything is decoded.

Each parser reports what the image will cost (size, bits, channels) and rejects anything but one whole still image. The
bytes that it hands on cannot mislead the decoder: they hold no metadata, which the decoder would apply by itself.
"""
