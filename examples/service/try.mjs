/** What a client does: jobs that succeed, fail and are aborted, and a service that ends under one. */

/** Reads server-sent events: [event, data] for each. */
async function* eventsOf(url) {
  const { body } = await fetch(url);
  let text = '';
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = Object.fromEntries(
        text
          .slice(0, end)
          .split('\n')
          .map((line) => line.split(/: (.*)/s)),
      );
      if (fields.event) yield [fields.event, JSON.parse(fields.data)];
      text = text.slice(end + 2);
    }
  }
}

function expectEqual(what, got, expected) {
  if (got !== expected) throw new Error(`${what}: expected ${expected}, got ${got}`);
}

export async function tryService(app, base) {
  const ask = async (method, path, body) => {
    const headers = body ? { 'content-type': 'application/json' } : {};
    const response = await fetch(base + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    return { status: response.status, type: response.headers.get('content-type'), body: await response.json() };
  };
  const start = async (model, config) => (await ask('POST', '/jobs', { model, config })).body;
  /** Follows a job to its end, and prints it. */
  const follow = async ({ id, model }, told = () => {}) => {
    let count = 0;
    for await (const [event, data] of eventsOf(`${base}/jobs/${id}/events`)) {
      if (event !== 'progress') {
        const { result, problem } = data;
        const figures = result
          ? `${result.compressionRatio.toFixed(2)} times smaller`
          : `${problem.status} ${problem.code}`;
        console.log(`job ${id} of ${model}: ${count} progress events, then ${event}: ${figures}`);
        return event;
      }
      count += 1;
      told(data);
    }
    throw new Error(`job ${id}: the stream ended without an outcome`);
  };

  const wrong = await ask('POST', '/jobs', { model: 'digits-dit', config: { bitWidth: 3 } });
  console.log(`bitWidth 3: ${wrong.type}`);
  console.log(JSON.stringify(wrong.body, null, 2));
  expectEqual('a wrong option', `${wrong.status} ${wrong.body.code}`, '400 AQ_INVALID_BIT_WIDTH');
  const unknown = await ask('POST', '/jobs', { model: '/etc' });
  console.log(`model /etc: ${unknown.status} ${unknown.body.title}, ${unknown.body.detail}`);
  expectEqual('an unknown model', unknown.status, 400);

  // They run one after the other, in this order.
  const good = await start('digits-dit', { bitWidth: 4 });
  const gone = await start('gone', {});
  const unwanted = await start('digits-dit', { bitWidth: 8 });
  const queued = await start('digits-dit', { bitWidth: 8 });
  await ask('DELETE', `/jobs/${queued.id}`);
  expectEqual('a job that waited', await follow(queued), 'aborted');
  expectEqual('the first job', await follow(good), 'done');
  expectEqual('a model that is not there', await follow(gone), 'failed');
  const { status, type } = await ask('GET', `/jobs/${gone.id}/result`);
  expectEqual('its result', `${status} ${type.split(';')[0]}`, '404 application/problem+json');
  const abort = ({ phase }) =>
    phase && phase !== 'config' && void ask('DELETE', `/jobs/${unwanted.id}`).catch(() => {});
  expectEqual('an aborted job', await follow(unwanted, abort), 'aborted');

  // A job is at work when the service ends: it is aborted, its client is told, and nothing is left of it.
  let closed;
  const close = () => {
    closed ??= app.close();
  };
  expectEqual('the last job', await follow(await start('digits-dit', { bitWidth: 8 }), close), 'aborted');
  await closed;
}
