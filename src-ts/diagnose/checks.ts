/** What the figures mean for calls. */
import { displayName } from '../errors/text.js';
import type { Status, StatusCheck } from './status.js';

const LITTLE_MEMORY = 512e6;
const LITTLE_DISK = 1e9;

type Facts = Pick<Status, 'node' | 'platform' | 'native' | 'cpu' | 'devices' | 'memory' | 'disk'>;

/** All checks, always the same ones in the same order. */
export function checksOf(facts: Facts): StatusCheck[] {
  return [
    checkNode(facts),
    checkNative(facts),
    checkCpu(facts),
    checkMemory(facts),
    checkDisk(facts),
    checkDevices(facts),
  ];
}

/** Whether a Node version is one that package.json admits. */
export function isSupportedNode(node: string): boolean {
  const [major = 0, minor = 0] = node.replace(/^v/, '').split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
}

function checkNode({ node }: Facts): StatusCheck {
  return isSupportedNode(node)
    ? ok('node', `Node ${node}`)
    : {
        name: 'node',
        status: 'warn',
        message: `Node ${node} is not tested`,
        hint: 'Use Node 20.19 or 22.12, or later.',
      };
}

function checkNative({ native, platform }: Facts): StatusCheck {
  if (native.loaded) return ok('native', `The addon ${native.version} for ${platform} is loaded`);
  const hint = 'Reinstall without omitting optional dependencies; the addon is one of them.';
  return { name: 'native', status: 'fail', message: native.error ?? 'The addon is not loaded.', hint };
}

function checkCpu({ cpu }: Facts): StatusCheck {
  return ok('cpu', `${cpu.cores} core(s)${cpu.simd === null ? '' : `, ${cpu.simd} kernels`}`);
}

function checkMemory({ memory }: Facts): StatusCheck {
  const { available, limit } = memory;
  const limited = limit === null ? '' : `, limited to ${megabytes(limit)}`;
  const message = `${megabytes(available)} available${limited}`;
  if (available >= LITTLE_MEMORY) return ok('memory', message);
  return { name: 'memory', status: 'warn', message, hint: 'Close other programs, or raise the limit.' };
}

function checkDisk({ disk }: Facts): StatusCheck {
  if (disk === null) {
    const hint = 'Name a folder on a mounted disk.';
    return { name: 'disk', status: 'warn', message: 'The free space cannot be told', hint };
  }
  const message = `${megabytes(disk.free)} free for ${displayName(disk.path)}`;
  if (disk.free >= LITTLE_DISK) return ok('disk', message);
  return { name: 'disk', status: 'warn', message, hint: 'Free space, or choose an output on another disk.' };
}

/** Without a device everything works, only slower, so none of this is a warning. */
function checkDevices({ devices }: Facts): StatusCheck {
  const told = devices.map(({ id, state, reason, breaker }) => {
    const more = [reason, breaker === null || breaker === 'closed' ? null : `breaker ${breaker}`].filter(
      (text) => text !== null,
    );
    return `${id} ${state}${more.length === 0 ? '' : ` (${more.join('; ')})`}`;
  });
  return ok('devices', told.length === 0 ? 'No device is known; everything runs on the CPU' : told.join(', '));
}

function ok(name: string, message: string): StatusCheck {
  return { name, status: 'ok', message, hint: null };
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
