/** Writes small .safetensors files, right ones and wrong ones, and reads right ones. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

export interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** What stands in the header of a file, for tests that damage it. */
export type Header = Record<string, unknown>;

export function f32(shape: readonly number[], values: Float32Array): Tensor {
  return { dtype: 'F32', shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

/** The bytes of a file. `damage` may change the header before it is written. */
export function encode(
  tensors: Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
  damage: (header: Header) => Header = (header) => header,
): Buffer {
  // Without a prototype, so that a tensor can have the name __proto__.
  const header: Header = Object.create(null);
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
    parts.push(data);
  }
  const text = Buffer.from(JSON.stringify(damage(header)));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...parts]);
}

export function writeSafetensors(file: string, tensors: Readonly<Record<string, Tensor>>): void {
  writeFileSync(file, encode(tensors));
}

/** What a tensor is, whatever its name: type, shape and a hash of its bytes. */
export function printOf({ dtype, shape, data }: Tensor): string {
  return `${dtype} [${shape}] ${createHash('sha256').update(data).digest('hex')}`;
}

/** The tensors of a file by their names. */
export function readTensors(file: string): Record<string, Tensor> {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE());
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    bytes.toString('utf8', 8, start),
  );
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== '__metadata__')
      .map(([name, { dtype, shape, data_offsets }]) => {
        const [begin, end] = data_offsets;
        return [name, { dtype, shape, data: bytes.subarray(start + begin, start + end) }];
      }),
  );
}
