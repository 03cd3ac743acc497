/** The state of the installation and the machine, for people who ask for help and for those who give it. */
import { readCallOptions } from '../config/call-options.js';
import { IssueList } from '../config/issues.js';
import { readPath } from '../config/paths.js';
import { Place } from '../config/place.js';
import { beginCall } from '../errors/call-site.js';
import { version } from '../generated/version.js';
import { counters } from '../metrics/counters.js';
import { checksOf } from './checks.js';
import { probeDisk, probeMemory, probeNative } from './probes.js';
import type { Status, StatusCheck } from './status.js';

export interface DiagnoseOptions {
  /** Where there must be space, such as a planned output. @defaultValue the working directory */
  readonly path?: string | URL | undefined;
}

/**
 * Tells versions, processor, memory, disk, running jobs and the latest errors, and what of it stands in the way.
 *
 * Never rejects, whatever it is given, and works where the addon does not load. Nothing is written.
 */
export async function diagnose(options?: DiagnoseOptions): Promise<Status> {
  const call = beginCall('diagnose', diagnose);
  const { path, wrong } = readOptions(options);
  const { native, cpu, devices } = await probeNative(call);
  const facts = {
    version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    native,
    cpu,
    devices,
    memory: probeMemory(),
    disk: path === undefined ? null : await probeDisk(path),
  };
  const { running, abandoned } = counters;
  return {
    ...facts,
    jobs: { running, abandoned },
    lastErrors: [...counters.lastErrors],
    checks: [...wrong, ...checksOf(facts)],
  };
}

function readOptions(options: unknown): { readonly path: string | undefined; readonly wrong: readonly StatusCheck[] } {
  const issues = new IssueList();
  let path: string | undefined;
  try {
    const { rest } = readCallOptions(options, [], ['path'], issues);
    // readPath asks for the working directory, which may have been removed.
    path = readPath(rest.get('path') ?? '.', new Place(issues, 'path'));
  } catch {
    path = undefined;
  }
  if (issues.empty) return { path, wrong: [] };
  const { issues: found, hint } = issues.toError({ operation: 'diagnose', startedAt: 0, callSite: undefined });
  return { path, wrong: found.map(({ message }) => ({ name: 'options', status: 'warn', message, hint })) };
}
