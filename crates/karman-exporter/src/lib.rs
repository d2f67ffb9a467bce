//! Layers in and out: canonical tar, compression, unpacking, image layouts and archives.
