// A steady rate of requests, and from one second to the next five times that rate. The metric `answered` is the
// duration of each request in milliseconds; its tag `replica` names the replica which answered.

import http from 'k6/http';
import { Trend } from 'k6/metrics';

const answered = new Trend('answered', true);
const rate = Number(__ENV.RATE);

function steady(requests, start, duration) {
  return {
    executor: 'constant-arrival-rate', rate: requests, timeUnit: '1s', startTime: `${start}s`, duration: `${duration}s`,
    preAllocatedVUs: Math.ceil(requests / 4), maxVUs: requests * 2, gracefulStop: '5s',
  };
}

const before = Number(__ENV.BEFORE);
const after = Number(__ENV.AFTER);

export const options = {
  discardResponseBodies: true,
  scenarios: {
    before: steady(rate, 0, before),
    after: steady(rate * 5, before, after),
  },
};

export default function () {
  const response = http.get(`${__ENV.WEIR_URL}/api/v1/todos`);
  const replica = response.headers['X-Replica'] || 'none';
  answered.add(response.timings.duration, { replica, status: String(response.status) });
}
