// The platforms that have a package: what Rust, npm and Node call each.

/** The file in each platform package with the licences of what its addon links. */
export const NOTICES = 'THIRD-PARTY-NOTICES.txt';

/** By Rust's target. */
export const PLATFORMS = {
  'x86_64-unknown-linux-gnu': { folder: 'linux-x64-gnu', os: 'linux', cpu: 'x64', libc: 'glibc' },
  'aarch64-unknown-linux-gnu': { folder: 'linux-arm64-gnu', os: 'linux', cpu: 'arm64', libc: 'glibc' },
  'x86_64-unknown-linux-musl': { folder: 'linux-x64-musl', os: 'linux', cpu: 'x64', libc: 'musl' },
  'aarch64-unknown-linux-musl': { folder: 'linux-arm64-musl', os: 'linux', cpu: 'arm64', libc: 'musl' },
  'x86_64-apple-darwin': { folder: 'darwin-x64', os: 'darwin', cpu: 'x64' },
  'aarch64-apple-darwin': { folder: 'darwin-arm64', os: 'darwin', cpu: 'arm64' },
  'x86_64-pc-windows-msvc': { folder: 'win32-x64-msvc', os: 'win32', cpu: 'x64' },
};

/** Whether Node runs here on a platform. */
function fits({ os, cpu, libc }) {
  if (os !== process.platform || cpu !== process.arch) return false;
  if (libc === undefined) return true;
  process.report.excludeNetwork = true;
  const { glibcVersionRuntime } = process.report.getReport().header;
  return libc === (glibcVersionRuntime === undefined ? 'musl' : 'glibc');
}

/** Rust's target of this machine; undefined where there is no package for it. */
export function hostTarget() {
  return Object.keys(PLATFORMS).find((target) => fits(PLATFORMS[target]));
}
