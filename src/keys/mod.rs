//! Sites whose PPMID keys are missing (L§13): one open case per site, until it is resolved or closed.
