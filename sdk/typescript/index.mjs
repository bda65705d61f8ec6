// The same code for `import`: one copy in a process, however it was loaded, so that `instanceof` holds everywhere.
export {
  Connection,
  ConnectionError,
  FlowProducer,
  Job,
  JobFailedError,
  Queue,
  QueueEvents,
  RetryError,
  SwitchyardError,
  UnrecoverableError,
  WaitTimeoutError,
  Worker,
} from './dist/index.js';
