/**
 * A disk on which nothing lasts until it is synced, as POSIX has it and no file system is as bad as.
 *
 * A file is durable up to its last fsync: of what was written since, nothing may be there, or the length without the bytes, or some sectors,
 * or all. A name is durable once the folder that it was given in is synced: of all that were given, changed or taken away since, any may be
 * there and any not, in whichever order; only a rename is there as a whole or not at all.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Random } from './moments.js';
import type { Change, Name } from './recording.js';

/** By path with `/`: the bytes of a file, null for a folder. */
export type Tree = ReadonlyMap<string, Buffer | null>;

interface FileNode {
  durable: Buffer;
  readonly pending: Pending[];
}
/** Its names are in the namings. */
type FolderNode = Record<string, never>;
type Node = FileNode | FolderNode;
type Pending = { readonly offset: number; readonly bytes: Buffer } | { readonly length: number };

/** What one change did to names. */
interface Naming {
  readonly steps: readonly (readonly [FolderNode, string, Node | undefined])[];
  /** The folder whose sync makes it durable. */
  readonly folder: FolderNode;
  durable: boolean;
}

const MODES = ['lost', 'zeros', 'torn', 'whole'] as const;
type Mode = (typeof MODES)[number];
const SECTOR = 512;
/** Up to so many open namings, all their subsets are tried: beyond, every beginning of them and some subsets. */
const MOST_OPEN = 6;
const SUBSETS = 16;

const isFile = (node: Node): node is FileNode => 'durable' in node;

export class VolatileDisk {
  readonly #root: FolderNode = {};
  readonly #namings: Naming[] = [];
  /** As processes see it. */
  #now = new Map<FolderNode, Map<string, Node>>();

  /** With a tree that is durable. */
  constructor(tree: Tree) {
    for (const [name, bytes] of [...tree].sort()) {
      const [folder, base] = this.#place(name.split('/'));
      this.#name(folder, [[folder, base, bytes === null ? {} : { durable: bytes, pending: [] }]]);
    }
    for (const naming of this.#namings) naming.durable = true;
  }

  apply(change: Change): void {
    const { kind, at } = change;
    if (kind === 'folder') {
      for (let depth = 1; depth <= at.length; depth += 1) this.#make(at.slice(0, depth), () => ({}));
    } else if (kind === 'create') this.#make(at, () => ({ durable: Buffer.alloc(0), pending: [] }));
    else if (kind === 'write' || kind === 'length') this.#file(at).pending.push(change);
    else if (kind === 'sync') {
      const file = this.#file(at);
      file.durable = content(file, 'whole');
      file.pending.length = 0;
    } else if (kind === 'syncFolder') {
      const folder = this.#find(at);
      for (const naming of this.#namings) if (naming.folder === folder) naming.durable = true;
    } else if (kind === 'remove') this.#remove(at);
    else if (kind === 'rename') {
      const [[from, name], [to, newName]] = [this.#place(at), this.#place(change.to)];
      this.#name(to, [
        [from, name, undefined],
        [to, newName, this.#find(at)],
      ]);
    }
  }

  /** As processes see it. */
  now(): Tree {
    return this.#tree(this.#namings, (file) => content(file, 'whole'));
  }

  /** What may be there after the power failed now, with what was done to names and bytes. */
  *afterPowerLoss(random: Random): Generator<{ readonly tree: Tree; readonly how: string }> {
    const open = this.#namings.filter(({ durable }) => !durable);
    const contents = MODES.map((mode) => {
      const known = new Map<FileNode, Buffer>();
      return (file: FileNode) => {
        const bytes = known.get(file) ?? content(file, mode, random);
        known.set(file, bytes);
        return bytes;
      };
    });
    for (const kept of subsets(open.length, random)) {
      const lost = new Set(open.filter((_, index) => !kept[index]));
      const there = this.#namings.filter((naming) => !lost.has(naming));
      const names = `names ${kept.map((is) => (is ? '+' : '-')).join('')}`;
      for (const [index, of] of contents.entries()) {
        yield { tree: this.#tree(there, of), how: `${names}, bytes ${MODES[index]}` };
      }
    }
  }

  #tree(namings: readonly Naming[], of: (file: FileNode) => Buffer): Tree {
    const names = new Map<FolderNode, Map<string, Node>>();
    for (const { steps } of namings) for (const step of steps) set(names, step);
    const tree = new Map<string, Buffer | null>();
    const walk = (folder: FolderNode, prefix: string) => {
      for (const [name, node] of names.get(folder) ?? []) {
        tree.set(prefix + name, isFile(node) ? of(node) : null);
        if (!isFile(node)) walk(node, `${prefix}${name}/`);
      }
    };
    walk(this.#root, '');
    return tree;
  }

  #find(at: Name): Node {
    let node: Node = this.#root;
    for (const name of at) {
      const next: Node | undefined = this.#now.get(node as FolderNode)?.get(name);
      if (next === undefined) throw new Error(`nothing is at ${at.join('/')}`);
      node = next;
    }
    return node;
  }

  #file(at: Name): FileNode {
    const node = this.#find(at);
    if (!isFile(node)) throw new Error(`${at.join('/')} is a folder`);
    return node;
  }

  /** The folder of a name, and its last part. */
  #place(at: Name): [FolderNode, string] {
    return [this.#find(at.slice(0, -1)) as FolderNode, at.at(-1) ?? ''];
  }

  #make(at: Name, node: () => Node): void {
    const [folder, name] = this.#place(at);
    if (!this.#now.get(folder)?.has(name)) this.#name(folder, [[folder, name, node()]]);
  }

  #remove(at: Name): void {
    const node = this.#find(at);
    if (!isFile(node)) for (const name of [...(this.#now.get(node)?.keys() ?? [])]) this.#remove([...at, name]);
    const [folder, name] = this.#place(at);
    this.#name(folder, [[folder, name, undefined]]);
  }

  #name(folder: FolderNode, steps: Naming['steps']): void {
    this.#namings.push({ folder, steps, durable: false });
    for (const step of steps) set(this.#now, step);
  }
}

function set(names: Map<FolderNode, Map<string, Node>>, [folder, name, node]: Naming['steps'][number]): void {
  const entries = names.get(folder) ?? new Map<string, Node>();
  names.set(folder, entries);
  if (node === undefined) entries.delete(name);
  else entries.set(name, node);
}

function content({ durable, pending }: FileNode, mode: Mode, random: Random = () => 0): Buffer {
  if (mode === 'lost' || pending.length === 0) return durable;
  let bytes = Buffer.from(durable);
  const resize = (length: number) => {
    const resized = Buffer.alloc(length);
    bytes.copy(resized);
    bytes = resized;
  };
  for (const change of pending) {
    if ('length' in change) resize(change.length);
    else {
      const { offset, bytes: written } = change;
      const end = offset + written.length;
      if (end > bytes.length) resize(end);
      for (let at = offset; at < end; ) {
        const next = Math.min(end, (Math.floor(at / SECTOR) + 1) * SECTOR);
        const part = written.subarray(at - offset, next - offset);
        if (mode === 'whole' || (mode === 'torn' && random() < 0.5)) part.copy(bytes, at);
        else if (mode === 'zeros') bytes.fill(0, at, next);
        at = next;
      }
    }
  }
  return bytes;
}

/** Which of some namings are there: all subsets of few; of many, each beginning, and some subsets. */
function subsets(count: number, random: Random): readonly boolean[][] {
  const of = (is: (index: number) => boolean) => Array.from({ length: count }, (_, index) => is(index));
  if (count <= MOST_OPEN)
    return Array.from({ length: 2 ** count }, (_, set) => of((index) => ((set >> index) & 1) === 1));
  const beginnings = Array.from({ length: count + 1 }, (_, length) => of((index) => index < length));
  return [...beginnings, ...Array.from({ length: SUBSETS }, () => of(() => random() < 0.5))];
}

/** What is in a folder. */
export function readTree(folder: string): Tree {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return new Map(
    entries.map((entry) => {
      const file = path.join(entry.parentPath, entry.name);
      const name = path.relative(folder, file).split(path.sep).join('/');
      return [name, entry.isDirectory() ? null : readFileSync(file)] as const;
    }),
  );
}

/** Makes a tree in a folder. */
export function writeTree(folder: string, tree: Tree): void {
  for (const [name, bytes] of [...tree].sort()) {
    const file = path.join(folder, name);
    if (bytes === null) mkdirSync(file);
    else writeFileSync(file, bytes);
  }
}

/** What is below a folder of a tree; undefined where it is not there. */
export function below(tree: Tree, folder: string): Tree | undefined {
  if (!tree.has(folder)) return undefined;
  const inside = [...tree].filter(([name]) => name.startsWith(`${folder}/`));
  return new Map(inside.map(([name, bytes]) => [name.slice(folder.length + 1), bytes]));
}

export function isSame(a: Tree | undefined, b: Tree | undefined): boolean {
  if (a === undefined || b === undefined || a.size !== b.size) return a === b;
  return [...a].every(([name, bytes]) => {
    const other = b.get(name);
    return bytes === null ? other === null : other instanceof Buffer && bytes.equals(other);
  });
}
