// The floor of the transport: a minimal server on grpc-go that streams bytes which it is given.
//
// It speaks the two methods that a simulated satellite needs, over mutual TLS, and does nothing besides: no
// authorization beyond a verified certificate, no database, no sessions, no reports.
//
//	stdin   {"attest": BYTES, "answer": [BYTES, ...]}   before anything else: what Attest and a Subscribe are answered
//	        {"push": [BYTES, ...]}                      to every stream
//	stdout  the address, then for each push the number of streams that it goes to
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// script is what the server is told.
type script struct {
	Attest []byte   `json:"attest"`
	Answer [][]byte `json:"answer"`
	Push   [][]byte `json:"push"`
}

// framed is one message: a head of its own, and a body that all streams share.
type framed struct{ head, body []byte }

// bytesCodec passes bytes through: what is in them is the peer's business.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(value any) (mem.BufferSlice, error) {
	message := value.(framed)
	return mem.BufferSlice{mem.SliceBuffer(message.head), mem.SliceBuffer(message.body)}, nil
}

func (bytesCodec) Unmarshal(received mem.BufferSlice, into any) error {
	*into.(*int) = received.Len()
	return nil
}

// server holds the script and the streams.
type server struct {
	attest  []byte
	answer  [][]byte
	mutex   sync.Mutex
	streams map[chan [][]byte]struct{}
}

func (s *server) add() chan [][]byte {
	pushes := make(chan [][]byte, 1)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.streams[pushes] = struct{}{}
	return pushes
}

func (s *server) remove(pushes chan [][]byte) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.streams, pushes)
}

func (s *server) push(bodies [][]byte) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for pushes := range s.streams {
		pushes <- bodies
	}
	return len(s.streams)
}

// sequenced writes the field that counts a stream's messages: StreamStateResponse.sequence.
func sequenced(sequence uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), sequence)
}

func attest(service any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var size int
	if err := decode(&size); err != nil {
		return nil, err
	}
	return framed{body: service.(*server).attest}, nil
}

func streamState(service any, stream grpc.ServerStream) error {
	s, size, sequence := service.(*server), 0, uint64(0)
	if err := stream.RecvMsg(&size); err != nil {
		return err
	}
	pushes := s.add()
	defer s.remove(pushes)
	go drain(stream)
	for bodies := s.answer; ; {
		for _, body := range bodies {
			sequence++
			if err := stream.SendMsg(framed{sequenced(sequence), body}); err != nil {
				return err
			}
		}
		select {
		case bodies = <-pushes:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// drain reads reports, and forgets them.
func drain(stream grpc.ServerStream) {
	for size := 0; stream.RecvMsg(&size) == nil; {
	}
}

func mutualTLS(chain, key, roots string) credentials.TransportCredentials {
	pair, err := tls.LoadX509KeyPair(chain, key)
	if err != nil {
		log.Fatal(err)
	}
	pem, err := os.ReadFile(roots)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		log.Fatal("no roots")
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
	})
}

func main() {
	commands := json.NewDecoder(bufio.NewReader(os.Stdin))
	var first script
	if err := commands.Decode(&first); err != nil {
		log.Fatal(err)
	}
	s := &server{attest: first.Attest, answer: first.Answer, streams: map[chan [][]byte]struct{}{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	transport := grpc.NewServer(
		grpc.Creds(mutualTLS(os.Args[1], os.Args[2], os.Args[3])), grpc.ForceServerCodecV2(bytesCodec{}))
	transport.RegisterService(&grpc.ServiceDesc{
		ServiceName: "fleet.v1.AttestationService",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Attest", Handler: attest}},
	}, s)
	transport.RegisterService(&grpc.ServiceDesc{
		ServiceName: "fleet.v1.StateService",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			{StreamName: "StreamState", Handler: streamState, ServerStreams: true, ClientStreams: true}},
	}, s)
	go func() { log.Fatal(transport.Serve(listener)) }()
	fmt.Println(listener.Addr())
	for {
		var next script
		if err := commands.Decode(&next); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.push(next.Push))
	}
}
