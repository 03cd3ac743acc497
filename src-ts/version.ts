import { createRequire } from 'node:module';

const manifest = createRequire(import.meta.url)('../package.json') as { readonly version: string };

/** Version of this package, as in its package.json. The native addon must be of the same version. */
export const version: string = manifest.version;
