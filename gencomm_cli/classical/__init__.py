"""The classical chain: image codecs, modes of LDPC code and QAM chosen for the SNR, and an ideal code at channel capacity."""
