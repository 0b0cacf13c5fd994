// A foreign client of the Workload API: reads its identity by go-spiffe, connects to a server with an exact SPIFFE
// ID, and follows one rotation. It prints one line for each step.
//
//	go_spiffe SOCKET ADDRESS EXPECTED_ID
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, socket, address, expected string) error {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+socket)))
	if err != nil {
		return err
	}
	defer source.Close()
	svid, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	fmt.Println("identity", svid.ID)

	bundles, err := workloadapi.FetchX509Bundles(ctx, workloadapi.WithAddr("unix://"+socket))
	if err != nil {
		return err
	}
	fmt.Println("bundles", bundles.Len())

	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(spiffeid.RequireFromString(expected)))
	config.NextProtos = []string{"h2"}
	connection, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	// gRPC's server speaks first: a byte from it says that it accepted our certificate.
	if _, err := connection.Read(make([]byte, 1)); err != nil {
		return err
	}
	fmt.Println("connected", expected)

	for {
		select {
		case <-source.Updated():
			rotated, err := source.GetX509SVID()
			if err != nil {
				return err
			}
			if rotated.Certificates[0].SerialNumber.Cmp(svid.Certificates[0].SerialNumber) != 0 {
				fmt.Println("rotated", rotated.ID)
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
