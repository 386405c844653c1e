// The ramp which loads TaskOverflow: many users, each listing the todos once a second.
//
// Environment: WEIR_URL (base URL), STAGES (durations and users at the end of each, as in "1m:1000,10m:5000"),
// THINK (pause of a user between two requests, in seconds). Ends with exit code 99 when a threshold is missed.

import http from 'k6/http';
import { check, sleep } from 'k6';

const BASE = (__ENV.WEIR_URL || 'http://127.0.0.1:8080').replace(/\/+$/, '');
const THINK = number('THINK', __ENV.THINK || '1');

export const options = {
  stages: stages(__ENV.STAGES || '1m:1000,10m:5000'),
  // The check is the status alone: the bodies of 5000 users would cost k6 more than they cost Weir.
  discardResponseBodies: true,
  thresholds: {
    // No request may fail.
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    // A run without requests must fail.
    http_reqs: ['count>0'],
  },
};

export default function () {
  const response = http.get(`${BASE}/api/v1/todos`, { tags: { name: 'list todos' } });
  check(response, { 'status was 200': (r) => r.status === 200 });
  sleep(THINK);
}

function stages(text) {
  return text.split(',').map((stage) => {
    const [, duration, users] = /^\s*((?:\d+(?:\.\d+)?(?:ms|s|m|h))+):(\d+)\s*$/.exec(stage) || [];
    if (!duration) {
      throw new Error(`STAGES must be like "1m:1000,10m:5000", and "${stage}" is no stage`);
    }
    return { duration, target: Number(users) };
  });
}

function number(name, text) {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) {
    throw new Error(`${name} must be a number of seconds, not "${text}"`);
  }
  return value;
}
