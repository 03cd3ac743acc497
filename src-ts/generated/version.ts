// Generated from package.json by scripts/version.mjs; do not edit.
/** Version of this package, as in its package.json. The native addon must be of the same version. */
export const version: string = '0.1.0';
