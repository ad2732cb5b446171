//! Firmware images: the Zigbee OTA header, the signed manifest, the trust policy, and the content-addressed store.
//! Promise: nothing unverified is ever stored, and bytes are hashed again each time they leave the store.
