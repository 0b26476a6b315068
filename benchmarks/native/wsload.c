// SPDX-License-Identifier: Apache-2.0
// wsload: epoll load generator for ws / nats / mqtt long-lived connections (loopback benchmarking)
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <unistd.h>
#include <fcntl.h>
#include <errno.h>
#include <time.h>
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#define LAT_BUCKETS 2000000
static uint64_t now_ns(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000000000ull+t.tv_nsec;}
typedef struct {int fd;int state;uint32_t rx;uint32_t setup_bytes;uint64_t t0;} Conn; // state 0=connecting 1=hs sent 2=ready
static Conn *C; static int EP; static int N=100;
static const char*proto="ws",*pubproto="ws",*path="/sub",*pubpath="/pub",*host="127.0.0.1"; static int port=9000,pubport=0;
static int ports[16],nports=0; static int K=1; // servers that connections are spread over; channels that subscribers are spread over
static const char*mode="fanout"; static double dur=3; static int window=4; static double rate=0; static int size=128; static int pids[64],npids=0;
static int inflight=100;static int plain=0;static int pipe_=1; static double hold=0; static const char*setup=NULL; static const char*fmt=NULL; static int readrate=0,rcvbuf=0;
static uint32_t *lat; static uint64_t nlat=0;
static uint64_t total_rx=0; static int ready=0; static int track_lat=0;
static char rbuf[1<<18];
static double cpu_of(int pid){ // sum of task schedstat seconds
  char p[128];snprintf(p,128,"/proc/%d/task",pid);DIR*d=opendir(p);if(!d)return 0;struct dirent*e;double s=0;
  while((e=readdir(d))){if(e->d_name[0]=='.')continue;char q[400];snprintf(q,400,"/proc/%d/task/%s/schedstat",pid,e->d_name);FILE*f=fopen(q,"r");if(f){unsigned long long a=0;if(fscanf(f,"%llu",&a)==1)s+=a/1e9;fclose(f);}}
  closedir(d);return s;}
static double delay_of(int pid){char q[200];snprintf(q,200,"/proc/%d/schedstat",pid);FILE*f=fopen(q,"r");unsigned long long a=0,b=0;if(f){if(fscanf(f,"%llu %llu",&a,&b)!=2)b=0;fclose(f);}return b/1e9;}
static double srv_cpu(void){double s=0;for(int i=0;i<npids;i++)s+=cpu_of(pids[i]);return s;}
static double srv_delay(void){double s=0;for(int i=0;i<npids;i++)s+=delay_of(pids[i]);return s;}
static long srv_rss(void){long s=0;for(int i=0;i<npids;i++){char q[100];snprintf(q,100,"/proc/%d/status",pids[i]);FILE*f=fopen(q,"r");char l[256];while(f&&fgets(l,256,f)){long v;if(sscanf(l,"VmRSS: %ld",&v)==1)s+=v;}if(f)fclose(f);}return s;}
static double self_cpu(void){struct rusage r;getrusage(RUSAGE_SELF,&r);return r.ru_utime.tv_sec+r.ru_utime.tv_usec/1e6+r.ru_stime.tv_sec+r.ru_stime.tv_usec/1e6;}
static int mkconn(int i,int prt){
  int fd=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0);if(fd<0){perror("socket");exit(1);}
  int one=1;setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
  if(rcvbuf)setsockopt(fd,SOL_SOCKET,SO_RCVBUF,&rcvbuf,sizeof rcvbuf);
  struct linger lg={1,0};setsockopt(fd,SOL_SOCKET,SO_LINGER,&lg,sizeof lg);
  setsockopt(fd,IPPROTO_IP,IP_BIND_ADDRESS_NO_PORT,&one,sizeof one);
  struct sockaddr_in b={0};b.sin_family=AF_INET;char ip[32];snprintf(ip,32,"127.0.0.%d",2+i/15000);inet_pton(AF_INET,ip,&b.sin_addr);if(bind(fd,(void*)&b,sizeof b)){perror("bind");exit(1);}
  struct sockaddr_in a={0};a.sin_family=AF_INET;a.sin_port=htons(prt);inet_pton(AF_INET,host,&a.sin_addr);
  if(connect(fd,(void*)&a,sizeof a)&&errno!=EINPROGRESS){perror("connect");exit(1);}
  return fd;}
static void wr(int fd,const void*b,size_t n){size_t o=0;while(o<n){ssize_t r=send(fd,(char*)b+o,n-o,MSG_NOSIGNAL);if(r<0){if(errno==EAGAIN){usleep(200);continue;}perror("send");exit(1);}o+=r;}}
static int wsframe(char*o,int op,const char*p,int n){int h;o[0]=0x80|op;if(n<126){o[1]=0x80|n;h=2;}else{o[1]=0x80|126;o[2]=n>>8;o[3]=n;h=4;}memset(o+h,0,4);memcpy(o+h+4,p,n);return h+4+n;}
// a %d in the path stands for the channel of connection i
static int hello(char*o,const char*pr,const char*pth0,int i){
  char pth[1024];snprintf(pth,sizeof pth,pth0,i%K);
  if(!strcmp(pr,"ws"))return sprintf(o,"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",pth);
  if(!strcmp(pr,"nats"))return sprintf(o,"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"b\",\"lang\":\"c\",\"version\":\"1\",\"echo\":false}\r\nSUB ch 1\r\nPING\r\n");
  if(!strcmp(pr,"natspub"))return sprintf(o,"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"b\",\"lang\":\"c\",\"version\":\"1\"}\r\nPING\r\n");
  if(!strcmp(pr,"mqtt")||!strcmp(pr,"mqttpub")){static int id=0;id++;char cid[16];int cl=sprintf(cid,"b%07d",id);int n=0;o[n++]=0x10;o[n++]=10+2+cl;memcpy(o+n,"\0\4MQTT\4\2\0\0",10);n+=10;o[n++]=0;o[n++]=cl;memcpy(o+n,cid,cl);n+=cl;
    if(pr[4]==0){memcpy(o+n,"\x82\x07\0\1\0\2ch\0",9);n+=9;}return n;}
  return 0;}
// publish message bytes
static int mkpayload(char*o){uint64_t t=now_ns();if(plain){int n=sprintf(o,"T=%016lx ",(unsigned long)t);while(n<size)o[n++]='x';return n;}int n=sprintf(o,"{\"t\":\"T=%016lx\",\"p\":\"",(unsigned long)t);while(n<size-2)o[n++]='x';o[n++]='"';o[n++]='}';return n;}
static int mkpub(char*o){
  char p[70000];int n=mkpayload(p);p[n]=0;char b[80000];static unsigned turn=0;
  if(fmt){n=strstr(fmt,"%d")?sprintf(b,fmt,(int)(turn++%K),p):sprintf(b,fmt,p);memcpy(p,b,n+1);}
  if(!strcmp(pubproto,"ws"))return wsframe(o,1,p,n);
  if(!strcmp(pubproto,"http")){int h=sprintf(o,"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",pubpath,n);memcpy(o+h,p,n);return h+n;}
  if(!strcmp(pubproto,"nats")){int h=sprintf(o,"PUB ch %d\r\n",n);memcpy(o+h,p,n);memcpy(o+h+n,"\r\n",2);return h+n+2;}
  if(!strcmp(pubproto,"mqtt")){int rl=4+n,h=0;o[h++]=0x30;do{int d=rl%128;rl/=128;o[h++]=d|(rl?0x80:0);}while(rl);o[h++]=0;o[h++]=2;o[h++]='c';o[h++]='h';memcpy(o+h,p,n);return h+n;}
  return 0;}
static int pubfd=-1;
static int cmpu(const void*a,const void*b){uint32_t x=*(uint32_t*)a,y=*(uint32_t*)b;return x<y?-1:x>y;}
static void scan_lat(const char*b,int n,uint64_t t){const char*p=b,*e=b+n;while((p=memmem(p,e-p,"T=",2))&&e-p>=18){char h[17];memcpy(h,p+2,16);h[16]=0;uint64_t s=strtoull(h,0,16);if(s&&t>s&&nlat<LAT_BUCKETS)lat[nlat++]=(t-s)/1000;p+=18;}}
static void printlat(const char*nm){if(!nlat){return;}qsort(lat,nlat,4,cmpu);printf(" %s_p50_us=%u p90_us=%u p99_us=%u max_us=%u n=%lu",nm,lat[nlat/2],lat[nlat*9/10],lat[nlat*99/100],lat[nlat-1],(unsigned long)nlat);}
// drain pubfd responses
static void drainpub(void){char b[8192];while(pubfd>=0){ssize_t r=recv(pubfd,b,sizeof b,0);if(r<=0){if(r==0){fprintf(stderr,"pub closed\n");exit(2);}break;}if(!strcmp(pubproto,"nats")&&memmem(b,r,"PING",4))wr(pubfd,"PONG\r\n",6);}}
static double idle_s=0;static int spin=1;
static int ewait(struct epoll_event*ev,int max,int to){
  if(!spin||to<=0)return epoll_wait(EP,ev,max,to);
  uint64_t t0=now_ns();int k=epoll_wait(EP,ev,max,0);if(k)return k;
  uint64_t lim=t0+(uint64_t)to*1000000ull;
  while(1){uint64_t t=now_ns(),u=t+15000;while(now_ns()<u)__builtin_ia32_pause();k=epoll_wait(EP,ev,max,0);t=now_ns();if(k||t>=lim){idle_s+=(t-t0)/1e9;return k;}}
}
static int pump_block=1;
static int pump(int to){ // generic receive in setup/fanout phases
  static struct epoll_event ev[1024];int k=pump_block?epoll_wait(EP,ev,1024,to):ewait(ev,1024,to);uint64_t t=track_lat?now_ns():0;
  for(int j=0;j<k;j++){int i=ev[j].data.u32;if(i==-1){drainpub();continue;}Conn*c=&C[i];
    ssize_t r=recv(c->fd,rbuf,sizeof rbuf,0);
    if(r<=0){if(r<0&&errno==EAGAIN)continue;fprintf(stderr,"conn %d closed r=%zd errno=%d\n",i,r,errno);exit(2);}
    total_rx+=r;c->rx+=r;if(track_lat)scan_lat(rbuf,r,t);
    if(!strcmp(proto,"nats")&&r<64&&memmem(rbuf,r,"PING\r\n",6)){wr(c->fd,"PONG\r\n",6);total_rx-=6;}
  }
  return k;}
static void openall(const char*pr){
  char h[2048];C=calloc(N,sizeof*C);EP=epoll_create1(0);int started=0,fl=0;uint64_t t0=now_ns();lat=realloc(lat,LAT_BUCKETS*4);
  double c0=srv_cpu(),s0=self_cpu();long r0=srv_rss();
  int stalls=0;
  while(ready<N){
    while(started<N&&fl<inflight){int i=started++;C[i].fd=mkconn(i,nports?ports[i%nports]:port);C[i].t0=now_ns();struct epoll_event e={.events=EPOLLOUT,.data.u32=i};epoll_ctl(EP,EPOLL_CTL_ADD,C[i].fd,&e);fl++;}
    static struct epoll_event ev[1024];int k=epoll_wait(EP,ev,1024,5000);if(k==0){if(++stalls>3){fprintf(stderr,"stall ready=%d started=%d\n",ready,started);exit(3);}}
    for(int j=0;j<k;j++){int i=ev[j].data.u32;Conn*c=&C[i];
      if(c->state==0){int n=hello(h,pr,path,i);ssize_t r=send(c->fd,h,n,MSG_NOSIGNAL);if(r!=n){fprintf(stderr,"hello send %zd %s\n",r,strerror(errno));exit(2);}c->state=1;struct epoll_event e={.events=EPOLLIN,.data.u32=i};epoll_ctl(EP,EPOLL_CTL_MOD,c->fd,&e);}
      else if(c->state==1){ssize_t r=recv(c->fd,rbuf,sizeof rbuf-1,0);if(r<=0){fprintf(stderr,"hs fail r=%zd %s i=%d ready=%d\n",r,strerror(errno),i,ready);exit(2);}rbuf[r]=0;
        int ok=0;if(!strcmp(pr,"ws")){if(strstr(rbuf,"\r\n\r\n")){if(memcmp(rbuf,"HTTP/1.1 101",12)){fprintf(stderr,"bad hs: %.300s\n",rbuf);exit(2);}ok=1;}}
        else if(!strcmp(pr,"nats")){if(strstr(rbuf,"PONG"))ok=1;}
        else ok=memmem(rbuf,r,"\x90\x03",2)!=NULL||r>=9;
        if(ok){c->state=2;ready++;fl--;if(setup){char f[4096];char s[2048];strcpy(s,setup);char*sv,*tk=strtok_r(s,"\n",&sv);while(tk){int n=wsframe(f,1,tk,strlen(tk));wr(c->fd,f,n);tk=strtok_r(NULL,"\n",&sv);}}}
      } else {ssize_t r=recv(c->fd,rbuf,sizeof rbuf,0);(void)r;}
    }
  }
  double dt=(now_ns()-t0)/1e9;double c1=srv_cpu();
  fprintf(stdout,"connect n=%d secs=%.3f hs_per_s=%.0f srv_cpu_us_per_hs=%.1f gen_cpu%%=%.0f srv_cpu%%=%.0f rss0_kb=%ld",N,dt,N/dt,(c1-c0)*1e6/N,100*(self_cpu()-s0)/dt,100*(c1-c0)/dt,r0);fflush(stdout);
  // quiesce
  uint64_t q=now_ns();uint64_t lim=q+(!strcmp(pr,"nats")?3500000000ull:600000000ull);while(now_ns()<lim){if(pump(100)>0&&lim<now_ns()+300000000ull)lim=now_ns()+300000000ull;}
  long r1=srv_rss();printf(" rss1_kb=%ld kb_per_conn=%.2f\n",r1,(double)(r1-r0)/N);fflush(stdout);
}
static void openpub(void){char h[1024];const char*pp=pubproto;if(!strcmp(pp,"nats"))pp="natspub";if(!strcmp(pp,"mqtt"))pp="mqttpub";
  pubfd=mkconn(0,pubport?pubport:port);struct timespec ts={0,50000000};nanosleep(&ts,0);
  if(strcmp(pubproto,"http")){int n=hello(h,pp,pubpath,0);wr(pubfd,h,n);char b[4096];int tries=0;ssize_t r;while((r=recv(pubfd,b,sizeof b,0))<0&&tries++<200)usleep(10000);if(r<=0){fprintf(stderr,"pub hs fail\n");exit(2);}
    usleep(200000);while(recv(pubfd,b,sizeof b,0)>0);
    if(setup&&!strcmp(pubproto,"ws")){char f[4096];char s[2048];strcpy(s,setup);char*sv,*tk=strtok_r(s,"\n",&sv);while(tk){int n2=wsframe(f,1,tk,strlen(tk));wr(pubfd,f,n2);tk=strtok_r(NULL,"\n",&sv);}usleep(300000);while(recv(pubfd,b,sizeof b,0)>0);}
  }
  struct epoll_event e={.events=EPOLLIN,.data.u32=-1};epoll_ctl(EP,EPOLL_CTL_ADD,pubfd,&e);}
static void fanout(void){
  char m[90000];openall(proto);openpub();const uint64_t S=N/K; // subscribers of one channel
  uint64_t lim=now_ns()+400000000ull;while(now_ns()<lim)pump(50);
  total_rx=0;int n=mkpub(m);wr(pubfd,m,n);uint64_t t=now_ns();uint64_t last=0;while(now_ns()-t<2000000000ull){pump(100);if(total_rx&&total_rx==last)break;last=total_rx;}
  while(pump(300)>0);
  if(total_rx%S){fprintf(stderr,"wirelen not integer: %lu / %lu\n",(unsigned long)total_rx,(unsigned long)S);if(total_rx==0)exit(4);}
  uint64_t wl=total_rx/S;if(!wl){fprintf(stderr,"no delivery\n");exit(4);}
  // warmup 0.3s + measure
  uint64_t pub=0;total_rx=0;pump_block=0;
  if(rate<=0){
    for(int phase=0;phase<2;phase++){
      double d=phase?dur:0.5;uint64_t p0=pub,r0=total_rx;double c0=srv_cpu(),s0=self_cpu(),dl0=srv_delay();idle_s=0;uint64_t t0=now_ns(),te=t0+(uint64_t)(d*1e9);
      while(1){uint64_t tn=now_ns();if(tn>=te)break;
        while(pub*S*wl<total_rx+(uint64_t)window*S*wl&&(pub*S*wl-total_rx)+S*wl<=(uint64_t)window*S*wl){n=mkpub(m);wr(pubfd,m,n);pub++;}
        pump(200);}
      double dt=(now_ns()-t0)/1e9;uint64_t del=(total_rx-r0)/wl;double c1=srv_cpu(),s1=self_cpu();
      if(phase)printf("fanout n=%d window=%d wire=%lu secs=%.2f delivered=%lu deliv_per_s=%.0f pub_per_s=%.1f srv_us_per_msg=%.3f srv_cpu%%=%.0f gen_cpu%%=%.0f gen_busy%%=%.0f srv_wait%%=%.0f",N,window,(unsigned long)wl,dt,(unsigned long)del,del/dt,(pub-p0)/dt,(c1-c0)*1e6/del,100*(c1-c0)/dt,100*(s1-s0)/dt,100*(1-idle_s/dt),100*(srv_delay()-dl0)/dt);
    }
  } else {
    track_lat=1;nlat=0;double c0=srv_cpu(),s0=self_cpu();uint64_t t0=now_ns(),te=t0+(uint64_t)(dur*1e9);uint64_t iv=(uint64_t)(1e9/rate),nx=t0;
    while(now_ns()<te){uint64_t tn=now_ns();if(tn>=nx){n=mkpub(m);wr(pubfd,m,n);pub++;nx+=iv;continue;}
      int ms=(nx-tn)/1000000;pump(ms>1?1:ms);}
    double dt=(now_ns()-t0)/1e9;printf("rate n=%d rate=%.0f secs=%.2f delivered=%lu deliv_per_s=%.0f srv_us_per_msg=%.3f srv_cpu%%=%.0f gen_cpu%%=%.0f",N,rate,dt,(unsigned long)(total_rx/wl),total_rx/wl/dt,(srv_cpu()-c0)*1e6/(total_rx/wl),100*(srv_cpu()-c0)/dt,100*(self_cpu()-s0)/dt);printlat("lat");
  }
  uint64_t tl=now_ns();while(total_rx<pub*S*wl&&now_ns()-tl<8000000000ull)pump(100);
  printf(" lost=%ld\n",(long)((int64_t)(pub*S)-(int64_t)(total_rx/wl)));
}
static int wrapped(char*p){int n=mkpayload(p);if(fmt){char b[75000];p[n]=0;n=sprintf(b,fmt,p);memcpy(p,b,n);}return n;}
static void echo(void){
  path=pubpath;openall(proto);char p[70000],f[80000];lat=realloc(lat,LAT_BUCKETS*4);
  struct epoll_event ev[1024];uint64_t done=0;
  int need=0;
  for(int i=0;i<N;i++){int n=wrapped(p);need=n<126?n+2:n+4;n=wsframe(f,1,p,n);wr(C[i].fd,f,n);C[i].rx=0;}
  for(int phase=0;phase<2;phase++){double d=phase?dur:0.5;uint64_t d0=done;double c0=srv_cpu(),s0=self_cpu(),dl0=srv_delay();uint64_t t0=now_ns(),te=t0+(uint64_t)(d*1e9);nlat=0;idle_s=0;
    int n=wrapped(p);int fl=wsframe(f,1,p,n);
    while(now_ns()<te){int k=ewait(ev,1024,200);uint64_t t=now_ns();
      for(int j=0;j<k;j++){Conn*c=&C[ev[j].data.u32];ssize_t r=recv(c->fd,rbuf,sizeof rbuf,0);if(r<=0){fprintf(stderr,"closed\n");exit(2);}c->rx+=r;
        if(c->rx>=need){c->rx-=need;done++;if(nlat<LAT_BUCKETS&&c->t0)lat[nlat++]=(t-c->t0)/1000;c->t0=t;if(send(c->fd,f,fl,MSG_NOSIGNAL)!=fl){perror("send");exit(2);}}}}
    double dt=(now_ns()-t0)/1e9;if(phase){printf("echo n=%d secs=%.2f rt_per_s=%.0f srv_us_per_rt=%.2f srv_cpu%%=%.0f gen_cpu%%=%.0f gen_busy%%=%.0f srv_wait%%=%.0f",N,dt,(done-d0)/dt,(srv_cpu()-c0)*1e6/(done-d0),100*(srv_cpu()-c0)/dt,100*(self_cpu()-s0)/dt,100*(1-idle_s/dt),100*(srv_delay()-dl0)/dt);printlat("rt");printf("\n");}
  }}
// HTTP: N connections, each with `pipe` POSTs under way; answers are counted by their (constant) length
static void post(void){
  char p[70000],m[80000];int n=mkpayload(p);p[n]=0;char b[75000];if(fmt)n=sprintf(b,fmt,p);else{memcpy(b,p,n);}
  int h=sprintf(m,"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",pubpath,n);memcpy(m+h,b,n);int ml=h+n;
  char*burst=malloc((size_t)ml*pipe_);for(int i=0;i<pipe_;i++)memcpy(burst+(size_t)ml*i,m,ml);
  C=calloc(N,sizeof*C);EP=epoll_create1(0);lat=realloc(lat,LAT_BUCKETS*4);
  for(int i=0;i<N;i++){C[i].fd=mkconn(i,port);struct epoll_event e={.events=EPOLLIN,.data.u32=i};struct timespec ts={0,200000};nanosleep(&ts,0);epoll_ctl(EP,EPOLL_CTL_ADD,C[i].fd,&e);}
  struct timespec ts={0,300000000};nanosleep(&ts,0);
  wr(C[0].fd,m,ml);nanosleep(&ts,0);ssize_t first=recv(C[0].fd,rbuf,sizeof rbuf,0);if(first<=0){fprintf(stderr,"no answer\n");exit(4);}
  if(memcmp(rbuf,"HTTP/1.1 200",12)){fprintf(stderr,"bad answer: %.300s\n",rbuf);exit(4);}
  uint32_t need=first;uint64_t done=0;struct epoll_event ev[1024];
  for(int i=0;i<N;i++){C[i].rx=0;C[i].t0=now_ns();wr(C[i].fd,burst,(size_t)ml*pipe_);}
  for(int phase=0;phase<2;phase++){double d=phase?dur:0.5;uint64_t d0=done;double c0=srv_cpu(),s0=self_cpu(),dl0=srv_delay();uint64_t t0=now_ns(),te=t0+(uint64_t)(d*1e9);nlat=0;idle_s=0;
    while(now_ns()<te){int k=ewait(ev,1024,200);uint64_t t=now_ns();
      for(int j=0;j<k;j++){Conn*c=&C[ev[j].data.u32];ssize_t r=recv(c->fd,rbuf,sizeof rbuf,0);if(r<=0){fprintf(stderr,"closed\n");exit(2);}c->rx+=r;
        int got=c->rx/need;if(got){c->rx-=got*need;done+=got;if(nlat<LAT_BUCKETS)lat[nlat++]=(t-c->t0)/1000;c->t0=t;wr(c->fd,burst,(size_t)ml*got);}}}
    double dt=(now_ns()-t0)/1e9;if(phase){printf("post n=%d pipe=%d answer=%u secs=%.2f req_per_s=%.0f srv_us_per_req=%.2f srv_cpu%%=%.0f gen_cpu%%=%.0f gen_busy%%=%.0f srv_wait%%=%.0f",N,pipe_,need,dt,(done-d0)/dt,(srv_cpu()-c0)*1e6/(done-d0),100*(srv_cpu()-c0)/dt,100*(self_cpu()-s0)/dt,100*(1-idle_s/dt),100*(srv_delay()-dl0)/dt);printlat("rt");printf("\n");}
  }}
// connections that read `readrate` bytes a second each (0: nothing), for -hold seconds; who is closed comes back
static void slowly(void){
  openall(proto);uint64_t end=now_ns()+(uint64_t)(hold*1e9);uint64_t closed=0,got=0;int step=readrate/4;char h[2048];int n;
  printf("slow n=%d ready\n",N);fflush(stdout);
  while(now_ns()<end){
    struct timespec t={0,250000000};nanosleep(&t,0);
    for(int i=0;i<N;i++){Conn*c=&C[i];
      if(c->state<2){ // on its way back
        if(c->state==0){n=hello(h,proto,path,i);ssize_t r=send(c->fd,h,n,MSG_NOSIGNAL);if(r==n)c->state=1;else if(errno!=EAGAIN&&errno!=ENOTCONN)goto again;}
        else{ssize_t r=recv(c->fd,rbuf,sizeof rbuf,0);if(r>0)c->state=2;else if(r==0||errno!=EAGAIN)goto again;}
        continue;}
      if(!step)continue;
      ssize_t r=recv(c->fd,rbuf,step,0);if(r>0){got+=r;continue;}
      if(r<0&&errno==EAGAIN)continue;
      closed++;
      again:close(c->fd);c->fd=mkconn(i,nports?ports[i%nports]:port);c->state=0;
    }
  }
  printf("slow n=%d closed=%lu bytes=%lu\n",N,(unsigned long)closed,(unsigned long)got);
}
int main(int ac,char**av){
  for(int i=1;i<ac;i++){char*a=av[i];
#define S(x,v) if(!strcmp(a,x)){v=av[++i];continue;}
#define I(x,v) if(!strcmp(a,x)){v=atoi(av[++i]);continue;}
#define D(x,v) if(!strcmp(a,x)){v=atof(av[++i]);continue;}
  S("-mode",mode)S("-proto",proto)S("-pubproto",pubproto)S("-path",path)S("-pubpath",pubpath)S("-host",host)S("-setup",setup)S("-fmt",fmt)
  I("-n",N)I("-port",port)I("-pubport",pubport)I("-window",window)I("-size",size)I("-inflight",inflight)I("-channels",K)I("-readrate",readrate)I("-rcvbuf",rcvbuf)I("-spin",spin)I("-plain",plain)I("-pipe",pipe_)
  D("-dur",dur)D("-rate",rate)D("-hold",hold)
  if(!strcmp(a,"-pids")){char*s=av[++i];char*t=strtok(s,",");while(t){pids[npids++]=atoi(t);t=strtok(NULL,",");}continue;}
  if(!strcmp(a,"-ports")){nports=0;char*s=av[++i];char*t=strtok(s,",");while(t&&nports<16){ports[nports++]=atoi(t);t=strtok(NULL,",");}continue;}
  fprintf(stderr,"arg %s\n",a);return 1;}
  struct rlimit rl={40000,40000};if(setrlimit(RLIMIT_NOFILE,&rl))getrlimit(RLIMIT_NOFILE,&rl);
  if(!strcmp(mode,"fanout"))fanout();else if(!strcmp(mode,"echo"))echo();else if(!strcmp(mode,"post"))post();else if(!strcmp(mode,"slow"))slowly();else {openall(proto);printf("ready\n");fflush(stdout);if(hold>0){struct timespec t={(int)hold,0};nanosleep(&t,0);}}
  return 0;}
