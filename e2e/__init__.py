"""End-to-end proofs: a real varnishd with the module, a real S3 server, real faults."""
