package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyphonic/cyphonic/internal/cloudconfig"
	"github.com/cyphonic/cyphonic/internal/program"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/store/etcd"
)

const defaultConfigPath = "/etc/cyphonic/cyphonicd.yaml"

// flags are the options of all verbs.
type flags struct {
	config        string
	etcdEndpoints []string
	logging       program.Logging
	replica       replicaFlags
}

// replicaFlags override what the configuration says of the replica.
type replicaFlags struct {
	name, host, speakerSocket string
	addresses, advertise      []string
}

func (r *replicaFlags) add(p *pflag.FlagSet) {
	p.StringVar(&r.name, "name", "", "name of the replica, unique among all, instead of replica.name of the configuration")
	p.StringVar(&r.host, "host", "", "name of the host, instead of replica.host")
	p.StringSliceVar(&r.addresses, "address", nil, "address at which others reach the replica, one per family (again or after a comma), instead of replica.addresses")
	p.StringSliceVar(&r.advertise, "advertise", nil, "address, with or without port, at which devices reach this very TRS, one per family (again or after a comma), instead of trs.advertise")
	p.StringVar(&r.speakerSocket, "speaker-socket", "", "unix socket of the speaker of the host, instead of replica.speakerSocket")
}

func (r *replicaFlags) override(c *cloudconfig.Config) {
	c.Replica.Name = cmp.Or(r.name, c.Replica.Name)
	c.Replica.Host = cmp.Or(r.host, c.Replica.Host)
	c.Replica.SpeakerSocket = cmp.Or(r.speakerSocket, c.Replica.SpeakerSocket)
	if len(r.addresses) > 0 {
		c.Replica.Addresses = r.addresses
	}
	if len(r.advertise) > 0 {
		c.TRS.Advertise = r.advertise
	}
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return program.Execute(ctx, newRoot(stdout, stderr), args)
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	var f flags
	root := program.NewRoot("cyphonicd", "The cloud services of CYPHONIC", `The cloud services of CYPHONIC: manager, AS, NMS and TRS, and the speaker that announces those of a host.

Exit codes: 0 ended after a drain, which SIGTERM and SIGINT begin too, 1 failed, 2 wrong arguments or configuration.`, stdout, stderr)
	p := root.PersistentFlags()
	p.StringVar(&f.config, "config", defaultConfigPath, "configuration file, as cyphonicctl init writes it")
	p.StringSliceVar(&f.etcdEndpoints, "etcd-endpoints", nil, "URLs of an etcd cluster, instead of etcd.endpoints of the configuration")
	f.logging.AddFlags(p)
	root.AddCommand(serviceCommand("all", "Run all services in one process", cloudconfig.Services(), &f, stderr))
	for _, s := range cloudconfig.Services() {
		root.AddCommand(serviceCommand(s, "Run only the "+title(s), []string{s}, &f, stderr))
	}
	root.AddCommand(speakerCommand(&f, stderr), configCommand(&f, stdout), drainCommand(&f, stdout))
	return root
}

// title is how a service is called in texts.
func title(service string) string {
	if service == cloudconfig.ServiceManager {
		return service
	}
	return strings.ToUpper(service)
}

func serviceCommand(name, short string, services []string, f *flags, stderr io.Writer) *cobra.Command {
	command := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := f.logging.New(stderr)
			if err != nil {
				return err
			}
			cfg, material, err := load(f, services)
			if err != nil {
				return err
			}
			cloud, err := newCloud(cmd.Context(), cloudOptions{cfg, material, services, log})
			if err != nil {
				return program.Fail(err)
			}
			if err := cloud.run(cmd.Context()); err != nil {
				return program.Fail(err)
			}
			log.Info("stopped")
			return nil
		},
	}
	f.replica.add(command.Flags())
	return command
}

func load(f *flags, services []string) (cloudconfig.Config, *cloudconfig.Material, error) {
	cfg, err := cloudconfig.Load(f.config)
	if err != nil {
		return cfg, nil, err
	}
	if len(f.etcdEndpoints) > 0 {
		cfg.Etcd.Endpoints = f.etcdEndpoints
	}
	f.replica.override(&cfg)
	material, err := cfg.Check(services, time.Now())
	if err != nil {
		return cfg, nil, fmt.Errorf("configuration %s:\n%w", f.config, err)
	}
	if slices.Contains(services, cloudconfig.ServiceManager) {
		if err := access.CheckAdminTokenHash(material.AdminTokenHash); err != nil {
			return cfg, nil, fmt.Errorf("configuration %s:\nmanager.adminTokenHashFile: %w", f.config, err)
		}
	}
	if len(cfg.Etcd.Endpoints) > 0 {
		if err := endpointsOf(cfg).Check(); err != nil {
			return cfg, nil, fmt.Errorf("configuration %s:\netcd: %w", f.config, err)
		}
	}
	return cfg, material, nil
}

func endpointsOf(cfg cloudconfig.Config) etcd.Endpoints {
	e := cfg.Etcd
	return etcd.Endpoints{
		URLs: e.Endpoints, CAFile: e.CAFile, CertificateFile: e.CertificateFile, KeyFile: e.KeyFile,
		Username: e.Username, PasswordFile: e.PasswordFile,
	}
}

func configCommand(f *flags, stdout io.Writer) *cobra.Command {
	config := &cobra.Command{
		Use: "config", Short: "About the configuration file", Args: cobra.NoArgs,
		RunE: program.NeedVerb,
	}
	services := cloudconfig.Services()
	validate := &cobra.Command{
		Use: "validate", Short: "Check the configuration and the files it names", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, _, err := load(f, services); err != nil {
				return err
			}
			_, err := fmt.Fprintf(stdout, "%s is valid\n", f.config)
			return err
		},
	}
	validate.Flags().StringSliceVar(&services, "services", services, "the services that the configuration is for")
	config.AddCommand(validate)
	return config
}
