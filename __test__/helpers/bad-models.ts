/** Models that are wrong in one way each. Every function takes a folder and returns the path of what it made there. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { ditTensors, gaussian, writeModel } from './models.js';
import { encode, f32, type Header, type Tensor } from './safetensors.js';

export const WEIGHTS = 'diffusion_pytorch_model.safetensors';
export const FIRST = 'transformer_blocks.0.attn1.to_q.weight';

/** What makes a model in a folder. */
export type Maker = (folder: string) => string;

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A model of small weights, where their values are not looked at. */
const small = (folder: string) => writeModel(folder, ditTensors(2, 64));
const plainWeight = (): Tensor => f32([64, 64], gaussian(64 * 64));

export const absent: Maker = (folder) => path.join(folder, 'absent');

export const emptyFolder: Maker = (folder) => {
  const model = path.join(folder, 'empty');
  mkdirSync(model);
  return model;
};

export const danglingLink: Maker = (folder) => {
  symlinkSync(path.join(folder, 'gone'), path.join(folder, 'link'));
  return path.join(folder, 'link');
};

export const linkLoop: Maker = (folder) => {
  symlinkSync('loop', path.join(folder, 'loop'));
  return path.join(folder, 'loop');
};

/** A good model and one file more beside its weights. */
export const withFile =
  (name: string, text: string): Maker =>
  (folder) => {
    const model = small(folder);
    writeFileSync(path.join(model, name), text);
    return model;
  };

export const withMetadata = (text: string): Maker => withFile('metadata.json', text);

export const withIndex = (weightMap: Readonly<Record<string, string>>): Maker =>
  withFile(`${WEIGHTS}.index.json`, JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap }));

/** A folder stands where metadata.json belongs. */
export const metadataFolder: Maker = (folder) => {
  const model = small(folder);
  mkdirSync(path.join(model, 'metadata.json'));
  return model;
};

/** One safetensors file with these tensors, beside which nothing tells the modality. */
const loneFile =
  (tensors: Readonly<Record<string, Tensor>>, metadata?: string): Maker =>
  (folder) => {
    const model = path.join(folder, 'lone');
    mkdirSync(model);
    writeFileSync(path.join(model, 'w.safetensors'), encode(tensors));
    if (metadata !== undefined) writeFileSync(path.join(model, 'metadata.json'), metadata);
    return model;
  };

export const unidentified = (metadata?: string): Maker => loneFile({ w: plainWeight() }, metadata);

/** Two candidates and nothing that prefers one of them. */
export const severalFiles: Maker = (folder) => {
  const model = loneFile({ w: plainWeight() })(folder);
  writeFileSync(path.join(model, 'v.safetensors'), encode({ v: plainWeight() }));
  return model;
};

export const withTensors =
  (tensors: Readonly<Record<string, Tensor>>): Maker =>
  (folder) =>
    writeModel(folder, tensors);

/** A model whose first weight has these values at these places. */
export const withValues = (values: ReadonlyMap<number, number>): Maker => {
  const weight = gaussian(64 * 64);
  for (const [index, value] of values) weight[index] = value;
  return withTensors({ ...ditTensors(2, 64), [FIRST]: f32([64, 64], weight) });
};

/** The bytes of a file that is no model. */
export const rawFile =
  (name: string, bytes: string): Maker =>
  (folder) => {
    writeFileSync(path.join(folder, name), bytes, 'latin1');
    return path.join(folder, name);
  };

export const fifo: Maker = (folder) => {
  const pipe = path.join(folder, 'model.safetensors');
  execFileSync('mkfifo', [pipe]);
  return pipe;
};

/** A model whose weight file is what `change` makes of its bytes. */
export const withBytes =
  (change: (good: Buffer) => Uint8Array): Maker =>
  (folder) => {
    const model = small(folder);
    const file = path.join(model, WEIGHTS);
    writeFileSync(file, change(readFileSync(file)));
    return model;
  };

/** A model whose header says something else about its first weight. */
export const withHeader =
  (change: (first: Entry, header: Header) => void): Maker =>
  (folder) => {
    const model = small(folder);
    const damage = (header: Header) => {
      change(header[FIRST] as Entry, header);
      return header;
    };
    writeFileSync(path.join(model, WEIGHTS), encode(ditTensors(2, 64), {}, damage));
    return model;
  };

/** The length of the header says this. */
export const withHeaderLength = (length: bigint): Maker =>
  withBytes((good) => {
    const bytes = Buffer.from(good);
    bytes.writeBigUInt64LE(length);
    return bytes;
  });

/** The header is this text. */
export const withHeaderText = (text: string | Buffer): Maker =>
  withBytes(() => {
    const header = Buffer.from(text);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header]);
  });
