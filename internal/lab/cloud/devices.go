package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"

	"github.com/cyphonic/cyphonic/internal/lab"
	"github.com/cyphonic/cyphonic/internal/lab/control"
	"github.com/cyphonic/cyphonic/internal/lab/load"
)

// StartDevices starts the program that is all devices of the client host, enrols their adapter, logs all of them in and
// registers them.
func (c *Cloud) StartDevices(ctx context.Context) error {
	token, err := c.Ctl(ctx, "token", "create", "--adapter", adapterName)
	if err != nil {
		return err
	}
	config, err := json.Marshal(load.Config{
		TrustFile: c.path("site", "trust.json"),
		ASIPv4:    netip.AddrPortFrom(VIP4(AS), Port(AS)), ASIPv6: netip.AddrPortFrom(VIP6(AS), Port(AS)),
		Adapter: adapterName, AdapterKeyFile: c.path("run", "adapter.key"), TokenFile: c.path("run", "adapter.token"), Devices: c.Devices,
	})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"adapter.token": token, "load.json": string(config)} {
		if err := os.WriteFile(c.path("run", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	c.client = control.NewProcess(c.Lab.Host(Clients), lab.Command{Name: "load", KeepRunning: c.options.Persistent, Args: []string{
		c.Plane.Program("cyphonic-lab"), "helper", "load", "--config", c.path("run", "load.json"), "--socket", c.path("run", "load.sock"),
	}})
	if err := c.client.Start(); err != nil {
		return err
	}
	remote := load.NewRemote(c.path("run", "load.sock"))
	err = await(ctx, startTimeout, func() error {
		if !c.client.Running() {
			return fmt.Errorf("the devices have ended: %s", c.client.LogTail(5))
		}
		if !remote.Listening() {
			return fmt.Errorf("the devices do not take orders: %s", c.client.LogTail(5))
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.Load = remote
	// The desired state may still be on its way to the replicas.
	if err := await(ctx, startTimeout, func() error { return remote.Enrol(ctx) }); err != nil {
		return fmt.Errorf("enrol the adapter: %w", err)
	}
	return remote.Setup(ctx, setupParallel)
}
