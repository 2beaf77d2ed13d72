//! The conformance suite for `TcpStack`.
