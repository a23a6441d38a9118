// Command cyphonicd is the cloud: the manager, the AS, the NMS and the TRS,
// each alone or all in one process with an embedded etcd.
package main

import "github.com/cyphonic/cyphonic/internal/program"

func main() { program.Main(execute) }
