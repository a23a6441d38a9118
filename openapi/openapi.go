// Package openapi holds the specification of the REST API of the manager, the single source of the resource types (api), of the server (manager/rest) and of the
// client (api/client). It must not hold hand-written behaviour.
//
// openapi.yaml refers to schemas/ (one file per kind), paths/ (one file per kind) and components/; openapi.gen.yaml is all of it in one document.
package openapi

import _ "embed"

// Order matters: the generator reads what the first line writes.
//go:generate go run ./bundle/bundle-openapi openapi.yaml openapi.gen.yaml
//go:generate go tool oapi-codegen -config types.config.yaml openapi.gen.yaml
//go:generate go tool oapi-codegen -config server.config.yaml openapi.gen.yaml
//go:generate go tool oapi-codegen -config client.config.yaml openapi.gen.yaml

// Document is the whole specification as YAML.
//
//go:embed openapi.gen.yaml
var Document []byte
