//! Messages out to DCC and in from it: durable before they are sent, durable before they are answered.
