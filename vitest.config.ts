import path from 'node:path';
import { defineConfig } from 'vitest/config';

/** Made by scripts/build-fault.mjs. */
const FAULT_ADDON = path.resolve(import.meta.dirname, 'target/fault/arrow-quant.node');

export default defineConfig({
  test: {
    globalSetup: ['__test__/helpers/build-dist.ts'],
    // A crash inside the addon must end one test file, not the whole run.
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'published', include: ['__test__/*.test.ts'] } },
      {
        extends: true,
        test: {
          name: 'fault',
          include: ['__test__/fault/*.test.ts'],
          env: { NAPI_RS_NATIVE_LIBRARY_PATH: FAULT_ADDON },
        },
      },
    ],
  },
});
