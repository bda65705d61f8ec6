"use strict";
/** Bodies of the API, field for field. Clients ignore fields that they do not know. */
Object.defineProperty(exports, "__esModule", { value: true });
