// Package check holds the tests of the Kubernetes manifests: they are rendered
// with kustomize, decoded strictly into the types of the Kubernetes API, and held
// against each other, against the configuration of cyphonicd and against the
// Pod Security Standards. It is a module of its own so that the libraries of
// Kubernetes stay out of the programs; nothing imports it.
package check
