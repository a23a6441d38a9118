// Package prometheus is the configuration of Prometheus for an installation: what is scraped, recording rules and alerts, and their tests. It has no code but the
// tests, which run promtool and hold rules, runbooks and the catalogue of metrics against one another.
package prometheus
