// Package grafana is the dashboards as code: Dashboards describes them, go generate writes each as a JSON file to be imported or provisioned. Queries are written
// for the series of manifests/prometheus. Tests hold every query against the catalogue of metrics; those of the lab want data from each.
//
// It must not talk to Grafana or Prometheus.
package grafana

//go:generate go test -count=1 -run ^TestTheFilesAreCurrent$ . -update
