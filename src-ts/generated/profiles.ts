// Generated from the option defaults of the core crate; do not edit.
export const PROFILES = {
  "edge": {
    "bitWidth": 2,
    "groupSize": 64,
    "numTimeGroups": 5,
    "enableTimeAware": true,
    "enableSpatial": true,
    "method": "auto",
    "symmetric": false,
    "failFast": false,
    "calibrationSamples": 32
  },
  "local": {
    "bitWidth": 4,
    "groupSize": 64,
    "numTimeGroups": 10,
    "enableTimeAware": true,
    "enableSpatial": true,
    "method": "auto",
    "symmetric": false,
    "failFast": false,
    "calibrationSamples": 128
  },
  "cloud": {
    "bitWidth": 8,
    "groupSize": 128,
    "numTimeGroups": 20,
    "enableTimeAware": true,
    "enableSpatial": false,
    "method": "auto",
    "symmetric": false,
    "failFast": false,
    "calibrationSamples": 512
  }
} as const;

/** By the job's bitWidth. */
export const MIN_ACCURACY = {
  "2": 0.9,
  "4": 0.985,
  "8": 0.9995
} as const;
