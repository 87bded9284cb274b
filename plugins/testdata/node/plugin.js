#!/usr/bin/env node
// An outbound for Culvert in JavaScript, written from
// framework/wire/proto/v1/README.md with the gRPC library of npm.
//
//     cp CHECKOUT/framework/wire/proto/v1/plugin.proto .
//     npm ci
//
// node-relay speaks a protocol of one line with its server: "GREETING HOST PORT",
// to which the server says "OK", or "NO" and why; then come the stream's bytes.
// A packet to the server begins with its destination, one from the server with
// its source, as in RFC 1928.
'use strict';

const net = require('net');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const env = process.env;
const token = Buffer.from(env.CULVERT_PLUGIN_TOKEN || '', 'hex');
const instances = new Map(); // handle → {greeting, server: the address as bytes}
const failure = { refused: 1, timeout: 2, protocol: 5, unsupported: 6, unavailable: 7, other: 255 };
let events; // the call that stays open, once it is there

const schema = {
  type: 'object',
  required: ['server', 'port'],
  properties: {
    server: { type: 'string', minLength: 1, maxLength: 255, description: 'name or address of the relay' },
    port: { type: 'integer', minimum: 1, maximum: 65535, description: 'port of the relay, TCP and UDP' },
    greeting: { type: 'string', default: 'HELLO', description: 'first word to the relay' },
  },
};

const fail = (status, text) => Object.assign(new Error(text), { status });

// problems finds what the schema cannot say.
function problems({ config }) {
  const { greeting = 'HELLO' } = JSON.parse(config);
  return /^[!-~]+$/.test(greeting) ? [] : [{ path: 'greeting', message: 'must be one word of ASCII' }];
}

const calls = {
  Describe: (call, done) => done(null, {
    version: '0.1.0',
    types: [{ kind: 'outbound', type: 'node-relay', label: 'NodeRelay', summary: 'Relay with a greeting, in JavaScript',
      stability: 'experimental', caps: ['packet'], schema: Buffer.from(JSON.stringify(schema)) }],
  }),
  Check: (call, done) => done(null, { problems: problems(call.request) }),
  Open: (call, done) => {
    const found = problems(call.request), { greeting = 'HELLO', server: at, port } = JSON.parse(call.request.config);
    if (!found.length) instances.set(call.request.handle, { greeting, server: address(at, port) });
    done(null, { problems: found });
  },
  Close: (call, done) => { instances.delete(call.request.handle); done(null, {}); },
  Events: (call) => { events = call; },
  Drain: (call, done) => { flows.close(() => process.exit(0)); done(null, {}); },
};

// address spells a destination: type, address, port.
function address(host, port) {
  let b = [3, Buffer.byteLength(host), ...Buffer.from(host)];
  if (net.isIPv4(host)) b = [1, ...host.split('.')];
  if (net.isIPv6(host)) b = [4, ...ipv6(host)];
  return Buffer.from([...b, port >> 8, port & 255]);
}

// ipv6 returns the 16 bytes of an address in text.
function ipv6(text) {
  const plain = new URL(`http://[${text.split('%')[0]}]`).hostname.slice(1, -1); // without a dotted tail
  const [head, tail] = plain.split('::').map((s) => (s ? s.split(':') : []));
  const zeros = Array(8 - head.length - (tail || []).length).fill('0');
  return Buffer.from([...head, ...zeros, ...(tail || [])].map((g) => g.padStart(4, '0')).join(''), 'hex');
}

// size is the length of the destination that b begins with.
const size = (b) => ({ 1: 7, 3: 4 + b[1], 4: 19 })[b[0]] || b.length + 1;

// text is the destination that b begins with, as "HOST PORT".
function text(b) {
  const end = size(b) - 2;
  let host = b.toString('utf8', 2, end);
  if (b[0] === 1) host = b.subarray(1, end).join('.');
  if (b[0] === 4) host = b.toString('hex', 1, end).replace(/(....)(?!$)/g, '$1:');
  return `${host} ${b.readUInt16BE(end)}`;
}

// take reads n bytes and leaves what follows them.
function take(socket, n) {
  return new Promise((resolve, reject) => {
    const stop = () => socket.off('readable', look).off('end', ended).off('close', ended).off('error', failed);
    const ended = () => { stop(); reject(fail(failure.protocol, 'the connection ended early')); };
    const failed = (err) => { stop(); reject(err); };
    const look = () => {
      const b = n ? socket.read(n) : Buffer.alloc(0);
      if (b && b.length === n) { stop(); resolve(b); }
    };
    socket.on('readable', look).on('end', ended).on('close', ended).on('error', failed);
    if (socket.destroyed || socket.readableEnded) ended();
    else look();
  });
}

// framed is a header, an answer or, without its first byte, a record.
function framed(first, ...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([first, body.length >> 8, body.length & 255]), body]);
}

function answer(c, status, why = '') {
  const words = Buffer.from(why.slice(0, 1000));
  c.write(framed(status, Buffer.from([words.length >> 8, words.length & 255]), words));
}

// serve reads the header of a flow, opens its way and carries it.
async function serve(c) {
  const head = await take(c, 3);
  const body = await take(c, head.readUInt16BE(1));
  if (head[0] !== 1 || body.length < 44 || !body.subarray(21, 37).equals(token)) return c.destroy();

  const instance = instances.get(body.readUInt32BE(0));
  const h = net.connect({ path: env.CULVERT_PLUGIN_HOST, allowHalfOpen: true });
  const wait = Math.min(body.readUInt32BE(37) || 10000, 2 ** 31 - 1); // a longer one is none to setTimeout
  const timer = setTimeout(() => h.destroy(fail(failure.timeout, 'no answer in time')), wait);
  const cancel = () => h.destroy(fail(failure.other, 'cancelled'));
  const notice = () => c.readableLength || c.read(); // the end is seen by reading
  h.on('error', () => {}); // who waits for its bytes gets it
  c.on('end', cancel).on('readable', notice);
  try {
    if (!instance) throw fail(failure.unavailable, 'no such instance');
    if (size(body.subarray(41)) > body.length - 41) throw fail(failure.protocol, 'no destination');
    await open(h, instance, body);
  } catch (err) {
    h.destroy();
    answer(c, err.status || failure.other, err.message);
    return c.end();
  } finally {
    clearTimeout(timer);
    c.off('end', cancel).off('readable', notice);
  }
  answer(c, 0);
  if (events) events.write({ count: { handle: body.readUInt32BE(0), metric: 'dials', n: 1 } });
  carry(c, h, body[20], instance.server);
}

// open has the kernel dial the server, and greets it.
async function open(h, instance, header) {
  h.write(framed(1, header.subarray(0, 41), instance.server)); // no option: a descriptor cannot come in here
  const head = await take(h, 3);
  const rest = await take(h, head.readUInt16BE(1));
  if (head[0]) throw fail(head[0], rest.toString('utf8', 2, 2 + rest.readUInt16BE(0)));
  if (header[20] !== 1) return;
  h.write(`${instance.greeting} ${text(header.subarray(41))}\n`);
  let line = '';
  while (!line.endsWith('\n') && line.length < 512) line += await take(h, 1);
  if (line.startsWith('NO ')) throw fail(failure.refused, 'the relay says ' + line.slice(3).trim());
  if (line !== 'OK\n') throw fail(failure.protocol, 'the relay answers something else');
}

// carry joins a flow and its way. An end in one direction is passed on as one.
function carry(c, h, network, server) {
  c.on('close', (bad) => bad && h.destroy());
  h.on('close', (bad) => bad && c.destroy());
  if (network === 1) return c.pipe(h).pipe(c);
  const ways = [records(c, h, (b) => Buffer.concat([server, b])), records(h, c, (b) => b.subarray(size(b)))];
  Promise.all(ways).catch(() => { c.destroy(); h.destroy(); });
}

// records passes packets on until the connection ends.
async function records(from, to, change) {
  for (;;) {
    const packet = change(await take(from, (await take(from, 2)).readUInt16BE(0)));
    const fits = packet.length && packet.length < 1 << 16 && to.writableLength < 1 << 20; // chosen: 1 MiB may wait
    if (fits) to.write(framed(0, packet).subarray(1));
  }
}

if (env.CULVERT_PLUGIN !== 'culvert.plugin.v1') {
  console.error('this is a plugin: name it under plugins: in the configuration of culvert');
  process.exit(1);
}
process.stdin.on('end', () => process.exit(0)).resume();
const flows = net.createServer({ allowHalfOpen: true }, (c) => {
  c.on('error', () => {});
  serve(c).catch(() => c.destroy());
});
const definition = loader.loadSync(__dirname + '/plugin.proto', { keepCase: true, defaults: true });
const { Plugin } = grpc.loadPackageDefinition(definition).culvert.plugin.v1;
const serving = { path: '/grpc.health.v1.Health/Check', requestStream: false, responseStream: false,
  requestDeserialize: (b) => b, responseSerialize: () => Buffer.from([8, 1]) }; // field 1 is SERVING
const server = new grpc.Server();
server.addService(Plugin.service, calls);
server.addService({ Check: serving }, { Check: (call, done) => done(null, {}) });
flows.listen(env.CULVERT_PLUGIN_DATA, () => {
  const control = env.PLUGIN_UNIX_SOCKET_DIR + '/control';
  server.bindAsync('unix:' + control, grpc.ServerCredentials.createInsecure(), (err) => {
    if (err) throw err;
    console.log(`1|1|unix|${control}|grpc|`);
    console.error(JSON.stringify({ level: 'INFO', msg: 'node is there', version: process.version }));
  });
});
