"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Worker = exports.Queue = exports.Job = exports.FlowProducer = exports.QueueEvents = exports.WaitTimeoutError = exports.UnrecoverableError = exports.SwitchyardError = exports.RetryError = exports.JobFailedError = exports.ConnectionError = exports.Connection = void 0;
/**
 * Queues of Switchyard, in the shape that users of BullMQ know.
 *
 * - {@link Queue} adds jobs and looks after a queue,
 * - {@link Worker} runs a function over each job,
 * - {@link QueueEvents} tells what happens in a queue, in any process,
 * - {@link FlowProducer} adds a job that waits for its children,
 * - {@link Connection} is shared by all of them; without one, each makes its own from `SWITCHYARD_URL` and
 *   `SWITCHYARD_TOKEN`, which Switchyard gives to every service.
 */
var connection_1 = require("./connection");
Object.defineProperty(exports, "Connection", { enumerable: true, get: function () { return connection_1.Connection; } });
var errors_1 = require("./errors");
Object.defineProperty(exports, "ConnectionError", { enumerable: true, get: function () { return errors_1.ConnectionError; } });
Object.defineProperty(exports, "JobFailedError", { enumerable: true, get: function () { return errors_1.JobFailedError; } });
Object.defineProperty(exports, "RetryError", { enumerable: true, get: function () { return errors_1.RetryError; } });
Object.defineProperty(exports, "SwitchyardError", { enumerable: true, get: function () { return errors_1.SwitchyardError; } });
Object.defineProperty(exports, "UnrecoverableError", { enumerable: true, get: function () { return errors_1.UnrecoverableError; } });
Object.defineProperty(exports, "WaitTimeoutError", { enumerable: true, get: function () { return errors_1.WaitTimeoutError; } });
var events_1 = require("./events");
Object.defineProperty(exports, "QueueEvents", { enumerable: true, get: function () { return events_1.QueueEvents; } });
var flow_1 = require("./flow");
Object.defineProperty(exports, "FlowProducer", { enumerable: true, get: function () { return flow_1.FlowProducer; } });
var job_1 = require("./job");
Object.defineProperty(exports, "Job", { enumerable: true, get: function () { return job_1.Job; } });
var queue_1 = require("./queue");
Object.defineProperty(exports, "Queue", { enumerable: true, get: function () { return queue_1.Queue; } });
var worker_1 = require("./worker");
Object.defineProperty(exports, "Worker", { enumerable: true, get: function () { return worker_1.Worker; } });
