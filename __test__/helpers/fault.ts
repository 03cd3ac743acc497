/** Faults on purpose: the plan of the fault build, and what must hold after each case whatever the fault was. */
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { type ArrowQuantError, isArrowQuantError } from '../../src-ts/index.js';
import { hashes, listing } from './tree.js';

interface FaultAddon {
  setFaultPlan(text: string): string | null;
  faultCounts(): string;
}

const file = process.env.NAPI_RS_NATIVE_LIBRARY_PATH ?? '';

/** The addon itself, for what the facade does not export. */
function addon(): FaultAddon {
  return createRequire(import.meta.url)(file) as FaultAddon;
}

/** Sets the plan, `action@site:hits[,…]`, until the test ends; counting begins anew. */
export function setFaults(plan: string): void {
  const wrong = addon().setFaultPlan(plan);
  if (wrong !== null) throw new Error(wrong);
  if (plan !== '') onTestFinished(() => void addon().setFaultPlan(''));
}

/** How often each site was passed since the plan was set. */
export function faultCounts(): Readonly<Record<string, number>> {
  return JSON.parse(addon().faultCounts());
}

/** What a call came to: its value, or its error of this package. */
export async function outcomeOf<T>(
  call: () => Promise<T>,
): Promise<{ value: T; error?: undefined } | { value?: undefined; error: ArrowQuantError }> {
  try {
    return { value: await call() };
  } catch (error) {
    if (!isArrowQuantError(error)) throw error;
    return { error };
  }
}

/** Open descriptors of this process below a folder; null where the system does not tell. */
export function openBelow(folder: string): string[] | null {
  const descriptors = '/proc/self/fd';
  if (!existsSync(descriptors)) return null;
  const open = readdirSync(descriptors).map((name) => {
    try {
      return readlinkSync(path.join(descriptors, name));
    } catch {
      return ''; // the one that listed them
    }
  });
  return open.filter((target) => target.startsWith(folder));
}

/** A folder as it was, to be compared with what it is. */
export function stateOf(folder: string): { readonly names: string[]; readonly files: Record<string, string> } {
  return { names: listing(folder), files: hashes(folder) };
}
