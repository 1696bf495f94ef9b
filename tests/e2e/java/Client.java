import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * One exchange of the JDK's own HTTP clients through a proxy: java.net.http, or HttpURLConnection.
 *
 * <p>Arguments: get|post|ws|url URL BYTES PROXY_HOST PROXY_PORT AUTHORITY.pem [USER PASSWORD].
 * The property proxy.authorization is a field that the caller sets by itself.
 * The result is key=value lines on stdout.
 */
public final class Client {
    private static final Duration PATIENCE = Duration.ofSeconds(15);

    private static SSLContext trusting(String authority) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (FileInputStream in = new FileInputStream(authority)) {
            store.setCertificateEntry(
                    "authority", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory managers =
                TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }

    private static byte[] payload(int count) {
        byte[] data = new byte[count];
        for (int i = 0; i < count; i++) data[i] = (byte) (i % 251);
        return data;
    }

    private static final class Listener implements WebSocket.Listener {
        private final StringBuilder text = new StringBuilder();
        private final ByteArrayOutputStream binary = new ByteArrayOutputStream();
        private final CompletableFuture<Void> echoed = new CompletableFuture<>();
        private final CompletableFuture<Integer> closed = new CompletableFuture<>();

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
            text.append(data);
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer data, boolean last) {
            byte[] part = new byte[data.remaining()];
            data.get(part);
            binary.writeBytes(part);
            if (last) echoed.complete(null);
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            closed.complete(code);
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            echoed.completeExceptionally(error);
            closed.completeExceptionally(error);
        }
    }

    private static final String FIELD = System.getProperty("proxy.authorization");

    private static void fetchByUrl(URI uri, String host, int port, SSLContext context)
            throws Exception {
        Proxy proxy = new Proxy(Proxy.Type.HTTP, new InetSocketAddress(host, port));
        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection(proxy);
        connection.setConnectTimeout((int) PATIENCE.toMillis());
        connection.setReadTimeout((int) PATIENCE.toMillis());
        if (connection instanceof HttpsURLConnection secure) {
            secure.setSSLSocketFactory(context.getSocketFactory());
        }
        if (FIELD != null) connection.setRequestProperty("Proxy-Authorization", FIELD);
        System.out.println("status=" + connection.getResponseCode());
    }

    private static void converse(HttpClient client, URI uri, byte[] payload) throws Exception {
        Listener listener = new Listener();
        WebSocket.Builder builder =
                client.newWebSocketBuilder().subprotocols("chat").connectTimeout(PATIENCE);
        if (FIELD != null) builder.header("Proxy-Authorization", FIELD);
        WebSocket socket = builder.buildAsync(uri, listener).get();
        socket.sendText("grüße", true).get();
        socket.sendBinary(ByteBuffer.wrap(payload), true).get();
        listener.echoed.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "done").get();
        System.out.println("code=" + listener.closed.get(PATIENCE.toSeconds(), TimeUnit.SECONDS));
        System.out.println("protocol=" + socket.getSubprotocol());
        System.out.println("text=" + listener.text);
        System.out.println("intact=" + Arrays.equals(payload, listener.binary.toByteArray()));
    }

    private static void fetch(HttpClient client, HttpRequest.Builder request) throws Exception {
        if (FIELD != null) request.header("Proxy-Authorization", FIELD);
        HttpResponse<String> response =
                client.send(request.timeout(PATIENCE).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println("status=" + response.statusCode());
        System.out.println("body=" + response.body().replace("\n", "\\n"));
    }

    public static void main(String[] args) throws Exception {
        URI uri = URI.create(args[1]);
        byte[] payload = payload(Integer.parseInt(args[2]));
        SSLContext context = trusting(args[5]);
        HttpClient.Builder builder =
                HttpClient.newBuilder()
                        .connectTimeout(PATIENCE)
                        .sslContext(context)
                        .proxy(
                                ProxySelector.of(
                                        new InetSocketAddress(args[3], Integer.parseInt(args[4]))));
        if (args.length > 6) {
            Authenticator login =
                    new Authenticator() {
                        @Override
                        protected PasswordAuthentication getPasswordAuthentication() {
                            return new PasswordAuthentication(args[6], args[7].toCharArray());
                        }
                    };
            builder.authenticator(login);
            Authenticator.setDefault(login);
        }
        HttpClient client = builder.build();
        try {
            switch (args[0]) {
                case "get" -> fetch(client, HttpRequest.newBuilder(uri));
                case "post" ->
                        fetch(
                                client,
                                HttpRequest.newBuilder(uri)
                                        .POST(HttpRequest.BodyPublishers.ofByteArray(payload)));
                case "ws" -> converse(client, uri, payload);
                case "url" -> fetchByUrl(uri, args[3], Integer.parseInt(args[4]), context);
                default -> throw new IllegalArgumentException(args[0]);
            }
        } catch (Exception error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                System.out.println("error=" + cause);
            }
        }
        System.exit(0);
    }
}
