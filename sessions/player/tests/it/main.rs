mod decoding;
mod frames;
mod hostile;
mod inputs;
mod keyframes;
mod playing;
