#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# TLS keys that sessions do not keep: the private key, the ticket key, and keys derived from it.

load helpers

setup() {
	needs_root
	[ "$SANITIZED" = none ] || skip 'the sanitizers keep freed memory'
	setup_site
	setup_tls
	make_maildir alice
}

# with_keys: with_client with functions that know the secret octets of server.key and of tickets, and search
# a process for them.
with_keys() {
	{
		echo "import hashlib, importlib.util, re, struct; tests = '$BATS_TEST_DIRNAME'"
		cat <<-'END'
			spec = importlib.util.spec_from_file_location('memory', tests + '/search-memory.py')
			memory = importlib.util.module_from_spec(spec)
			spec.loader.exec_module(memory)

			def pieces(octets):
			    """Eight octets each, as such and as a number of the library has them."""
			    found = [octets[at:at + 8] for at in range(0, len(octets) - 7, 8)]
			    return ['hex:' + piece.hex() for piece in found + [piece[::-1] for piece in found]]

			def private_key():
			    text = subprocess.run(['openssl', 'pkey', '-in', 'server.key', '-text', '-noout'],
			                          capture_output=True, text=True, check=True).stdout
			    found = []
			    for digits in re.findall(r'(?m)^(?:priv|prime1|prime2|privateExponent):((?:\s+[0-9a-f:]+\n)+)', text):
			        found += pieces(bytes.fromhex(re.sub(r'[\s:]', '', digits)).lstrip(b'\0'))
			    assert len(found) >= 6, text
			    # And the encoding of the file.
			    return found + ['hex:' + open('server.key', 'rb').read()[40:80].hex()]

			def derived(key, back=0):
			    """What GnuTLS encrypts tickets with in this period of 36 hours: a name, which tickets begin with, and keys."""
			    return hashlib.sha3_512(struct.pack('>Q', int(time.time()) // 129600 - back) + key).digest()

			def ticket_name(*options):
			    """Of a new ticket."""
			    out = subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{port}', '-ign_eof', '-tls1_2', *options],
			                         input='QUIT\r\n', capture_output=True, text=True, check=True).stdout
			    return bytes.fromhex(re.search(r'0000 - ([0-9a-f -]{47})', out)[1].replace('-', ' '))

			def ticket_keys(*options):
			    """The file's, or the listener's, which is searched for the one that makes such tickets."""
			    name = ticket_name(*options)
			    if os.path.exists('run/ticket-key'):
			        keys = [open('run/ticket-key', 'rb').read()[8:]]
			    else:
			        keys = (octets[at:at + 64] for octets in memory.regions(listener) if len(octets) < 1 << 20
			                for at in range(0, len(octets) - 63, 8) if any(octets[at:at + 64]))
			    key = next(key for key in keys if derived(key)[:16] == name)
			    return pieces(key) + pieces(derived(key)[16:]) + pieces(derived(key, 1)[16:])

			def found(pid, texts):
			    return sorted(memory.search(pid, *texts))

			class TlsClient(Client):
			    def __init__(self, context, session):
			        self.socket = context.wrap_socket(socket.create_connection(('127.0.0.1', port)), session=session,
			                                          server_hostname='localhost')
			        self.file = self.socket.makefile('rwb')
			        self.greeting = self.hear()

			def process_of(client):
			    """That serves it."""
			    text = subprocess.run(['ss', '-Htnp', f'sport = :{port} and dport = :{client.socket.getsockname()[1]}'],
			                          capture_output=True, text=True, check=True).stdout
			    return int(re.search(r'pid=(\d+)', text)[1])
		END
		cat
	} >keys.py
	with_client <keys.py
}

# use_key KIND: another private key, of P-256 (ec) or RSA (rsa).
use_key() {
	rm server.key
	make_key server.key "$1"
	make_certificate server ca /CN=localhost subjectAltName=DNS:localhost
}

@test "a session in TLS has neither the private key, the ticket key nor keys derived from it, and resumption works" {
	for how in 'serve_port ec' 'serve_port rsa' 'listen_port ec' 'listen_port rsa'; do
		rm -f run/ticket-key
		use_key "${how#* }"
		${how% *} --tls=implicit
		with_keys <<-'END'
			keys = ticket_keys() + private_key()
			for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
			    context = ssl.create_default_context(cafile='ca.pem')
			    context.maximum_version = version
			    session = None
			    for reused in False, True, True:
			        client = TlsClient(context, session)
			        assert client.socket.session_reused == reused
			        pid = process_of(client)
			        assert found(pid, keys) == []
			        client.login()
			        assert found(pid, keys) == []
			        session = client.socket.session
			        client.close()
		END
	done
}

@test "a session that logs in without TLS keeps neither the private key nor the ticket key" {
	for kind in ec rsa; do
		use_key $kind
		listen_port
		with_keys <<-'END'
			private, client = private_key(), Client(port)
			pid = process_of(client)
			assert found(pid, private) != [] # proves the search
			assert found(listener, private) != []
			keys = ticket_keys('-starttls', 'pop3')
			assert found(listener, keys) != []
			assert found(pid, keys) != []
			client.login()
			assert found(pid, private) == []
			assert found(pid, keys) == []
			client.close()
		END
	done
}
