// What web and worker share: orders, figures and where files lie.
import { join } from 'node:path';

export const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

/** An order from outside, or `undefined` when it is none. */
export function parseOrder(text) {
  try {
    const { year } = JSON.parse(text);
    return Number.isInteger(year) && year >= 2000 && year <= 2100 ? { year } : undefined;
  } catch {
    return undefined;
  }
}

/** The folder of a tenant's files, shared by all services of the environment. */
export function folderOf(tenant) {
  return join(process.env.SWITCHYARD_SHARED_DIR ?? 'data', 'reports', tenant);
}

/** Sales of a month. They are made up, but always the same for one tenant and month. */
export function sales(tenant, year, month) {
  let hash = 2166136261;
  for (const letter of `${tenant} ${year} ${month}`) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619) >>> 0;
  return { orders: 100 + (hash % 900), revenue: 10_000 + (hash % 89_999) };
}
