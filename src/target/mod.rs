//! What becomes of each device: its states and the one function that moves it between them.
