// Fails when a source file reaches 400 lines: such a file holds more than one idea. Generated files are exempt.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const LIMIT = 400;
const SOURCES = ['*.rs', '*.ts', '*.mts', '*.mjs', '*.py', '*.sh', '.ci/run'];
const GENERATED = [/^index\.d\.ts$/, /^src-ts\/generated\//];

// Files not added yet count too: the check is meant to be run before a commit.
const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...SOURCES], {
  encoding: 'utf8',
});
const files = [...new Set(listed.split('\0'))].filter(
  (file) => file && !GENERATED.some((pattern) => pattern.test(file)),
);

let failed = 0;
for (const file of files) {
  let text;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') continue; // deleted but not yet staged
    throw error;
  }
  const lines = text.split('\n').length - 1;
  if (lines >= LIMIT) {
    failed += 1;
    console.log(`${file}: ${lines} lines, the limit is ${LIMIT - 1}`);
  }
}
console.log(`${files.length} source files checked, ${failed} too long`);
process.exitCode = failed > 0 ? 1 : 0;
