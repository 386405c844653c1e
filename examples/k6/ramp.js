// The ramp that TaskOverflow is loaded with: many users who each list the todos once a second.
//
// Environment: WEIR_URL (base URL), STAGE1 and STAGE2 (durations), USERS1 and USERS2 (users at the end of each).
// Ends with exit code 99 when a threshold is missed.

import http from 'k6/http';
import { check, sleep } from 'k6';

const BASE = (__ENV.WEIR_URL || 'http://127.0.0.1:8080').replace(/\/+$/, '');

export const options = {
  stages: [
    { duration: __ENV.STAGE1 || '1m', target: users('USERS1', 1000) },
    { duration: __ENV.STAGE2 || '10m', target: users('USERS2', 5000) },
  ],
  // Bodies are counted and thrown away: the check is the status, and 5000 users' bodies cost k6 more than Weir.
  discardResponseBodies: true,
  thresholds: {
    checks: ['rate>0.99'],
  },
};

export default function () {
  const response = http.get(`${BASE}/api/v1/todos`, { tags: { name: 'list todos' } });
  check(response, { 'status is 200': (r) => r.status === 200 });
  sleep(1);
}

function users(name, standard) {
  const count = Number(__ENV[name] || standard);
  if (!Number.isInteger(count) || count < 0) {
    throw new Error(`${name} must be a whole number of users, not "${__ENV[name]}"`);
  }
  return count;
}
