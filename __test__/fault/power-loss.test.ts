/**
 * The power fails at any moment of a job. What it changes on disk is recorded; for every moment between two changes the disk is made as it
 * may be found then (`helpers/volatile-disk.ts`): the output is absent, old and whole, or complete, and the next run ends as if nothing had
 * been. Nothing is really cut off, so thousands of such disks take seconds, and what a kind file system would forgive is found as well.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type QuantizeDiffusionModelOptions, quantizeDiffusionModel } from '../../src-ts/index.js';
import { writeCalibration } from '../helpers/calibration.js';
import { outcomeOf } from '../helpers/fault.js';
import { ditTensors, gaussian, writeModel } from '../helpers/models.js';
import { isLong, type Random, randomFrom, tell } from '../helpers/moments.js';
import { type Change, recorded } from '../helpers/recording.js';
import { f32 } from '../helpers/safetensors.js';
import { tempDir } from '../helpers/temp.js';
import { below, isSame, readTree, type Tree, VolatileDisk, writeTree } from '../helpers/volatile-disk.js';

// The page comes after the job, and stands for nothing that is asked of the output here.
vi.mock('../../src-ts/with-report.js', () => ({ withReport: async (result: object) => result }));

/** Of the disks of one moment, so many are run on; in the short form, of every few moments. */
const [NEXT_RUNS, EVERY] = isLong ? [6, 1] : [2, 8];
const LIMIT = { timeout: isLong ? 3_600_000 : 240_000 };

type Job = Omit<QuantizeDiffusionModelOptions, 'outputPath'>;

/** A gate that 2 bits miss, so that the shard is put together anew and renamed. One thread: changes have one order. */
const RAISED = { bitWidth: 2, minAccuracy: 0.97, numThreads: 1, device: 'cpu' } as const;

const model = (): string => writeModel(tempDir(), ditTensors(2, 64));

/** A pipeline with a component whose weights are carried over as they are. */
function pipeline(): string {
  const folder = path.join(tempDir(), 'pipeline');
  mkdirSync(folder);
  const index = {
    _class_name: 'FluxPipeline',
    transformer: ['diffusers', 'DiTTransformer2DModel'],
    vae: ['diffusers', 'AutoencoderKL'],
  };
  writeFileSync(path.join(folder, 'model_index.json'), JSON.stringify(index));
  writeModel(folder, ditTensors(2, 64), 'transformer');
  writeModel(folder, { 'conv.weight': f32([64, 64], gaussian(4096)) }, 'vae', { _class_name: 'AutoencoderKL' });
  return folder;
}

/** The output of a job that nothing disturbs. */
async function undisturbed(job: Job): Promise<Tree> {
  const outputPath = path.join(tempDir(), 'out');
  await quantizeDiffusionModel({ ...job, outputPath });
  return readTree(outputPath);
}

/** A folder with an output of 8 bits. */
async function oldOutput(modelPath: string): Promise<Tree> {
  const tree = await undisturbed({ modelPath, bitWidth: 8, minAccuracy: 0 });
  return new Map([['out', null], ...[...tree].map(([name, bytes]) => [`out/${name}`, bytes] as const)]);
}

/** A job over what stands in a folder already. */
interface Scene {
  /** The output's path in the folder. */
  readonly output: string;
  /** What is durable before everything else. */
  readonly start: Tree;
  /** Changes of an earlier job that ended without having synced them. */
  readonly earlier?: readonly Change[];
  readonly job: Job;
  readonly next: readonly Next[];
}

/** A job that is run afterwards. */
interface Next {
  readonly job: Job;
  /** Codes with which it may be refused. */
  readonly refused?: readonly string[];
  /** Its output, where that is another one. */
  readonly wanted?: Tree;
}

const EMPTY: Tree = new Map();

/** What a job changes over a tree. */
async function changesOf(start: Tree, output: string, job: Job): Promise<readonly Change[]> {
  const folder = tempDir();
  writeTree(folder, start);
  const outputPath = path.join(folder, output);
  return recorded(folder, () => quantizeDiffusionModel({ ...job, outputPath }));
}

/** What changes make of a tree. */
function after(start: Tree, changes: readonly Change[]): Tree {
  const disk = new VolatileDisk(start);
  for (const change of changes) disk.apply(change);
  return disk.now();
}

/** Until the journal tells of two tensors. */
function onceNoted(changes: readonly Change[]): readonly Change[] {
  const isNote = ({ kind, at }: Change) => kind === 'write' && at.at(-1) === 'journal.jsonl';
  return changes.slice(0, changes.indexOf(changes.filter(isNote)[2] as Change) + 1);
}

/** Until something has a name. */
function once(name: string, changes: readonly Change[]): readonly Change[] {
  const isNamed = (change: Change) => change.kind === 'rename' && change.to.at(-1) === name;
  return changes.slice(0, changes.findIndex(isNamed) + 1);
}

/** A job's run: what it changed, and what may be at its output. */
interface Run {
  readonly scene: Scene;
  readonly changes: readonly Change[];
  readonly wanted: Tree;
  readonly old: Tree | undefined;
}

async function runOf(scene: Scene): Promise<Run> {
  const { output, start, earlier = [], job } = scene;
  const [wanted, old] = [await undisturbed({ ...job, resume: false }), below(start, output)];
  const changes = await changesOf(after(start, earlier), output, job);
  return { scene, changes, wanted, old };
}

/** What is wrong with the output on a disk; undefined where it is absent, old and whole, or complete. */
function wrong({ scene: { output }, wanted, old }: Run, tree: Tree, isOver: boolean): string | undefined {
  const there = below(tree, output);
  if (isSame(there, wanted)) return undefined;
  if (isOver) return 'the job was over, its output is not there';
  if (isSame(there, old)) return undefined;
  if (there !== undefined) return 'the output is torn';
  // Between its two renames a job has the old output in the staging, beside the new one; the next run puts it back.
  const staging = path.posix.join(path.dirname(output), `.${path.basename(output)}.aq-partial`);
  const kept = tree.has(`${staging}/content`) ? below(tree, `${staging}/replaced`) : undefined;
  return isSame(kept, old) || isSame(kept, wanted) ? undefined : 'the output is lost';
}

/** The disks of each moment of a run, the first before its first change; `without`: as if one sync were not made. */
function* disksOf({ scene: { start, earlier = [] }, changes }: Run, random: Random, without?: Change) {
  const disk = new VolatileDisk(start);
  for (const change of earlier) disk.apply(change);
  yield { last: undefined, said: 'before the job', isOver: false, disks: disk.afterPowerLoss(random) };
  for (const [index, last] of changes.entries()) {
    if (last !== without) disk.apply(last);
    const said = `after ${index + 1}. ${last.kind} ${last.at.join('/')}`;
    yield { last, said, isOver: index === changes.length - 1, disks: disk.afterPowerLoss(random) };
  }
}

/** Runs the job, and looks at every disk that it may leave. */
async function check(scene: Scene): Promise<void> {
  const run = await runOf(scene);
  const random = randomFrom(7);
  const counts = { moments: 0, disks: 0, runs: 0 };
  for (const { last, said, isOver, disks } of disksOf(run, random)) {
    const found = [...disks];
    for (const { tree, how } of found) {
      const what = wrong(run, tree, isOver);
      if (what !== undefined) expect.fail(`${said}, ${how}: ${what}`);
    }
    counts.moments += 1;
    counts.disks += found.length;
    if (last?.kind === 'write' && counts.moments % EVERY !== 0) continue;
    for (let turn = 0; turn < NEXT_RUNS; turn += 1) {
      const { tree, how } = found[Math.floor(random() * found.length)] ?? { tree: EMPTY, how: '' };
      for (const next of scene.next) {
        await expectNext(tree, scene.output, { wanted: run.wanted, ...next }, `${said}, ${how}`);
        counts.runs += 1;
      }
    }
  }
  const { moments, disks, runs } = counts;
  tell(`${expect.getState().currentTestName}: ${moments} moments, ${disks} disks, ${runs} next runs`);
}

/** The next run over what was found: its output, and nothing beside it. */
async function expectNext(
  tree: Tree,
  output: string,
  { job, wanted, refused = [] }: Next,
  context: string,
): Promise<void> {
  const folder = tempDir();
  writeTree(folder, tree);
  const outputPath = path.join(folder, output);
  const { error } = await outcomeOf(() => quantizeDiffusionModel({ ...job, outputPath }));
  if (error !== undefined) {
    expect(refused, `${context}: ${error.message}`).toContain(error.code);
    if (error.code === 'AQ_OUTPUT_EXISTS') expect(tree.has(output), context).toBe(true);
    return;
  }
  const found = readTree(folder);
  expect(isSame(below(found, output), wanted), context).toBe(true);
  const beside = [...found.keys()].filter((name) => name.includes('aq-partial'));
  expect(beside, context).toEqual([]);
  rmSync(folder, { recursive: true });
}

/** Refused where the output is there already. */
const resumed = (job: Job) => ({ job: { ...job, resume: true }, refused: ['AQ_OUTPUT_EXISTS'] });
/** Whatever is there. */
const replacing = (job: Job) => ({ job: { ...job, overwrite: true } });

describe('the power fails', () => {
  test('under a first job', LIMIT, async () => {
    const job = { ...RAISED, modelPath: pipeline() };
    await check({ output: 'made/for/out', start: EMPTY, job, next: [replacing(job), resumed(job)] });
  });

  test('under one that overwrites', LIMIT, async () => {
    const modelPath = model();
    const start = await oldOutput(modelPath);
    const job = { ...RAISED, modelPath, overwrite: true };
    await check({ output: 'out', start, job, next: [replacing(job)] });
  });

  test.each([
    ['between', 'replaced'],
    ['after', 'out'],
  ])('under one that overwrites when another has died %s its two renames', LIMIT, async (_, name) => {
    const modelPath = model();
    const start = await oldOutput(modelPath);
    const job = { ...RAISED, modelPath, overwrite: true };
    const earlier = once(name, await changesOf(start, 'out', job));
    await check({ output: 'out', start, earlier, job, next: [replacing(job)] });
  });

  test.each([
    ['one layout', {}],
    ['several layouts', { layout: ['sdnq', 'gguf', 'plain'] }],
    ['tables over time', {}],
    ['a share', { partition: '1/2' }],
  ] as const)('under one that resumes: %s', LIMIT, async (name, options) => {
    const modelPath = model();
    const calibration = name.startsWith('tables') ? { calibration: writeCalibration(tempDir(), 2, 64) } : {};
    const job = { ...RAISED, ...options, ...calibration, modelPath, resume: true };
    const earlier = onceNoted(await changesOf(EMPTY, 'out', job));
    const plain = { ...job, resume: false };
    await check({ output: 'out', start: EMPTY, earlier, job, next: [replacing(plain), resumed(job)] });
  });

  test('under one that sweeps what a job with other options had left', LIMIT, async () => {
    const modelPath = model();
    const left = { ...RAISED, modelPath, layout: 'gguf', resume: true } as const;
    // That was a while ago: all of it is durable.
    const start = after(EMPTY, onceNoted(await changesOf(EMPTY, 'out', left)));
    const job = { ...RAISED, modelPath };
    // What goes on with the staging of the one must not find files of the other in it.
    const goesOn = {
      job: left,
      refused: ['AQ_OUTPUT_EXISTS', 'AQ_RESUME_MISMATCH'],
      wanted: await undisturbed({ ...left, resume: false }),
    };
    await check({ output: 'out', start, job, next: [replacing(job), goesOn] });
  });

  test('no sync is made for nothing: without any of them an output would be torn or lost', LIMIT, async () => {
    const modelPath = pipeline();
    const start = await oldOutput(modelPath);
    const job = { ...RAISED, modelPath };
    const first = await runOf({ output: 'made/for/out', start: EMPTY, job, next: [] });
    const second = await runOf({ output: 'out', start, job: { ...job, overwrite: true }, next: [] });
    for (const run of [first, second]) {
      const syncs = run.changes.filter(({ kind }) => kind.startsWith('sync'));
      expect(syncs.length).toBeGreaterThan(7);
      for (const sync of syncs) {
        let found = false;
        for (const { isOver, disks } of disksOf(run, randomFrom(7), sync)) {
          for (const { tree } of disks) found ||= wrong(run, tree, isOver) !== undefined;
          if (found) break;
        }
        expect(found, `${sync.kind} ${sync.at.join('/')}`).toBe(true);
      }
    }
  });
});
