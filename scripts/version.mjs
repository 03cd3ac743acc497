// Writes src-ts/generated/version.ts from package.json, so that a bundle of the package reads no file to know its version.

import { readFileSync, writeFileSync } from 'node:fs';

const at = (path) => new URL(`../${path}`, import.meta.url);
const { version } = JSON.parse(readFileSync(at('package.json'), 'utf8'));

writeFileSync(
  at('src-ts/generated/version.ts'),
  `// Generated from package.json by scripts/version.mjs; do not edit.
/** Version of this package, as in its package.json. The native addon must be of the same version. */
export const version: string = '${version}';
`,
);
