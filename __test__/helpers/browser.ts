/** A real Chromium, where the machine has one. */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { type Browser, chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** `AQ_CHROMIUM`, or the first of the usual names in PATH. */
export function findChromium(): string | undefined {
  const given = process.env.AQ_CHROMIUM;
  if (given !== undefined && given !== '') return given;
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name))).find(executable);
}

export function launch(executablePath: string): Promise<Browser> {
  // Its own sandbox needs rights that containers seldom give; what it opens here is a page of ours.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
}

function executable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
