// The same package by `require`.
import sdk = require('@switchyard/sdk');

const queue: sdk.Queue<{ a: number }> = new sdk.Queue('x');
// @ts-expect-error: data of another form
void queue.add('x', { b: 1 });
