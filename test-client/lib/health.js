'use strict';
// Asks the server for its health all the time.

const assert = require('node:assert/strict');
const { until } = require('./deadline');
const { get } = require('./server');

const EVERY_MS = 100;

class HealthWatch {
  constructor(url) {
    this.url = url;
    this.answers = 0;
    this.problems = [];
    this.timer = setInterval(() => this.#ask(), EVERY_MS);
  }

  async #ask() {
    try {
      const { status, body } = await get(`${this.url}/health`);
      this.answers += 1;
      if (status !== 200 || body.trim() !== 'OK') this.problems.push(`/health said ${status} ${JSON.stringify(body)}`);
    } catch (error) {
      this.problems.push(`/health: ${error.message}`);
    }
  }

  /** It answers now, and has never answered anything but OK. */
  async good() {
    const { answers } = this;
    await until(3000, 'the next answer of /health', () => this.answers > answers || this.problems.length > 0);
    assert.deepEqual(this.problems, []);
  }

  async stop() {
    clearInterval(this.timer);
  }
}

module.exports = { HealthWatch };
