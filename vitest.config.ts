import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['__test__/*.test.ts'],
    globalSetup: ['__test__/helpers/build-dist.ts'],
    // A crash inside the addon must end one test file, not the whole run.
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
